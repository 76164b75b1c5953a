//! What every command needs to know: which servers, as whom, and how to write.

use std::time::Duration;

use paas_core::files;

use crate::args::Global;
use crate::client::{Client, ClientError, ServerUrl, ServerUrls};
use crate::credentials::Credentials;
use crate::failure::Failure;
use crate::output::{self, Output};

/// What every command needs to know.
pub(crate) struct Context {
    pub(crate) output: Output,
    /// The servers that are spoken to, as far as one of them answers.
    pub(crate) urls: ServerUrls,
    /// Whether they were named for this command alone.
    pub(crate) url_given: bool,
    /// The token that was given for this command alone.
    pub(crate) given_token: Option<String>,
    /// The last login, whichever server it was at.
    pub(crate) stored: Option<Credentials>,
    ca: Option<Vec<u8>>,
    deadline: Duration,
}

impl Context {
    pub(crate) fn new(global: Global, stored: Option<Credentials>) -> Result<Self, Failure> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let given_urls = given(Some(global.url.join(",")));
        let url_given = given_urls.is_some();
        let urls = given_urls.or_else(|| stored.as_ref().map(|login| login.urls.join(",")));
        let urls = urls.as_deref().unwrap_or(ServerUrl::DEFAULT).parse()?;
        let ca = global.ca.filter(|path| !path.is_empty()).map(|path| {
            files::read(path.as_ref(), files::LARGEST_TEXT)
                .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))
        });
        Ok(Self {
            output: Output { format: global.output, quiet: global.quiet },
            urls,
            url_given,
            given_token: given(global.token),
            stored,
            ca: ca.transpose()?,
            deadline: Duration::from_secs(global.retry_for.into()),
        })
    }

    /// The last login, if every server that is spoken to is one of those that it was at.
    pub(crate) fn login(&self) -> Option<&Credentials> {
        let there = |login: &Credentials| login.urls.join(",").parse::<ServerUrls>();
        self.stored.as_ref().filter(|login| there(login).is_ok_and(|there| self.urls.are_among(&there)))
    }

    /// A token of one platform is never sent to another.
    fn token(&self) -> Option<&str> {
        self.given_token.as_deref().or_else(|| self.login().map(|login| login.token.as_str()))
    }

    /// The client, with the token if there is one.
    pub(crate) fn client(&self) -> Result<Client, ClientError> {
        self.client_of(self.urls.clone(), self.token())
    }

    /// A client of some servers, without a token.
    pub(crate) fn stranger(&self, urls: ServerUrls) -> Result<Client, ClientError> {
        self.client_of(urls, None)
    }

    fn client_of(&self, urls: ServerUrls, token: Option<&str>) -> Result<Client, ClientError> {
        let client = Client::of_several(urls, token, self.ca.as_deref())?.with_deadline(self.deadline);
        Ok(client.on_warning(output::warnings()))
    }

    /// What to say about a failure; nothing when it was said already.
    pub(crate) fn line(&self, failure: &Failure) -> Option<String> {
        match failure {
            Failure::Client(error) if error.code() == Some("unauthenticated") => Some(self.not_logged_in()),
            failure => failure.line(),
        }
    }

    /// The servers of the last login, and those that are spoken to.
    fn beside(&self, login: &Credentials) -> String {
        let more = self.urls.iter().map(ToString::to_string).filter(|url| !login.urls.contains(url));
        login.urls.iter().cloned().chain(more).collect::<Vec<_>>().join(",")
    }

    fn not_logged_in(&self) -> String {
        let command = format!(
            "run paas-cli login{}",
            if self.url_given { format!(" --url {}", self.urls) } else { String::new() }
        );
        if self.given_token.is_some() {
            return format!("not logged in: the token given is not valid at {}; {command}", self.urls);
        }
        match &self.stored {
            Some(_) if self.login().is_some() => format!("not logged in: the last login has ended; {command}"),
            Some(login) => {
                let there = login.urls.join(",");
                let several = match self.url_given {
                    true => format!(
                        "; or, for servers of one platform, once for all of them: paas-cli login --url {}",
                        self.beside(login)
                    ),
                    false => String::new(),
                };
                format!(
                    "not logged in: the last login was at {there}, and its token is sent nowhere else; {command}{several}"
                )
            }
            None => format!("not logged in: {command}"),
        }
    }
}
