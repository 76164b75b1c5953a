//! What every command needs to know: which server, as whom, and how to write.

use crate::args::Global;
use crate::client::{Client, ClientError, ServerUrl};
use crate::credentials::Credentials;
use crate::failure::Failure;
use crate::output::Output;

/// What every command needs to know.
pub(crate) struct Context {
    pub(crate) output: Output,
    /// The server that is spoken to.
    pub(crate) url: ServerUrl,
    /// Whether the server was named for this command alone.
    pub(crate) url_given: bool,
    /// The token that was given for this command alone.
    pub(crate) given_token: Option<String>,
    /// The last login, whichever server it was at.
    pub(crate) stored: Option<Credentials>,
    ca: Option<Vec<u8>>,
}

impl Context {
    pub(crate) fn new(global: Global, stored: Option<Credentials>) -> Result<Self, Failure> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let given_url = given(global.url);
        let url_given = given_url.is_some();
        let url = given_url.or_else(|| stored.as_ref().map(|login| login.url.clone()));
        let url = url.as_deref().unwrap_or(ServerUrl::DEFAULT).parse()?;
        let ca = global.ca.filter(|path| !path.is_empty()).map(|path| {
            std::fs::read(&path).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))
        });
        Ok(Self {
            output: Output { format: global.output, quiet: global.quiet },
            url,
            url_given,
            given_token: given(global.token),
            stored,
            ca: ca.transpose()?,
        })
    }

    /// The last login, if it was at the server that is spoken to.
    pub(crate) fn login(&self) -> Option<&Credentials> {
        let here = |login: &&Credentials| login.url.parse::<ServerUrl>().is_ok_and(|url| url == self.url);
        self.stored.as_ref().filter(here)
    }

    /// A token of one server is never sent to another.
    fn token(&self) -> Option<&str> {
        self.given_token.as_deref().or_else(|| self.login().map(|login| login.token.as_str()))
    }

    /// The client, with the token if there is one.
    pub(crate) fn client(&self) -> Result<Client, ClientError> {
        Client::with_ca(self.url.clone(), self.token(), self.ca.as_deref())
    }

    /// A client of some server, without a token.
    pub(crate) fn stranger(&self, url: ServerUrl) -> Result<Client, ClientError> {
        Client::with_ca(url, None, self.ca.as_deref())
    }

    /// What to say about a failure; nothing when it was said already.
    pub(crate) fn line(&self, failure: &Failure) -> Option<String> {
        match failure {
            Failure::Client(error) if error.code() == Some("unauthenticated") => Some(self.not_logged_in()),
            failure => failure.line(),
        }
    }

    fn not_logged_in(&self) -> String {
        let command = format!(
            "run paas-cli login{}",
            if self.url_given { format!(" --url {}", self.url) } else { String::new() }
        );
        if self.given_token.is_some() {
            return format!("not logged in: the token given is not valid at {}; {command}", self.url);
        }
        match &self.stored {
            Some(_) if self.login().is_some() => format!("not logged in: the last login has ended; {command}"),
            Some(login) => format!("not logged in: the last login was at {}; {command}", login.url),
            None => format!("not logged in: {command}"),
        }
    }
}
