//! Files that the containers of a component are given: secrets, and configuration files.

use std::collections::BTreeSet;

use super::ComponentSpec;
use crate::model::{Invalid, tmpfs};

/// The longest name of a file, bytes: an archive has room for no more.
const LONGEST_NAME: usize = 100;

impl ComponentSpec {
    /// Whether its containers are given files.
    pub fn has_files(&self) -> bool {
        !self.secrets.is_empty() || !self.configs.is_empty()
    }

    /// The folders of these files. Each is a volume of the container's own, which has what the image has there as well.
    pub fn file_folders(&self) -> BTreeSet<&str> {
        self.file_paths().map(|(_, path)| folder(path)).collect()
    }

    /// Whom a file belongs to, by number: who is named, or else the user of the component, or else root.
    pub fn file_owner(&self, uid: Option<u32>, gid: Option<u32>) -> (u32, u32) {
        let user = self.docker.user.as_deref().unwrap_or_default();
        let (user, group) = user.split_once(':').unwrap_or((user, ""));
        let number = |text: &str| text.parse::<u32>().unwrap_or_default();
        (uid.unwrap_or_else(|| number(user)), gid.unwrap_or_else(|| number(group)))
    }

    /// Whether a file belongs to root because the user of the component is a name, for which nobody here knows the number.
    pub fn has_files_of_unknown_owner(&self) -> bool {
        let user = self.docker.user.as_deref().unwrap_or_default();
        let is_name = !user.is_empty() && user.split(':').next().is_some_and(|user| user.parse::<u32>().is_err());
        let owners = self.secrets.values().map(|file| file.uid).chain(self.configs.values().map(|file| file.uid));
        is_name && owners.into_iter().any(|uid| uid.is_none())
    }

    fn file_paths(&self) -> impl Iterator<Item = (&'static str, &String)> {
        self.secrets.keys().map(|path| ("secrets", path)).chain(self.configs.keys().map(|path| ("configs", path)))
    }

    pub(super) fn validate_files(&self) -> Result<(), Invalid> {
        for (field, path) in self.file_paths() {
            let wrong = |message: String| Err(Invalid::new(field, message));
            let is_plain = |part: &str| !matches!(part, "" | "." | "..");
            if !path.strip_prefix('/').is_some_and(|path| path.split('/').all(is_plain)) {
                return wrong(format!("must be the absolute path of a file, not {path:?}"));
            }
            let (folder, name) = (folder(path), path.rsplit('/').next().unwrap_or_default());
            if folder.is_empty() {
                return wrong(format!("{path} must be in a folder, which becomes a volume of the container's own"));
            }
            if name.len() > LONGEST_NAME {
                return wrong(format!("the name of {path} must have at most {LONGEST_NAME} bytes"));
            }
            let is_it = |other: &str| other.trim_end_matches('/') == folder;
            let in_memory = self.docker.tmpfs.iter().any(|tmpfs| is_it(tmpfs::parts(tmpfs).0));
            if in_memory || self.volumes.keys().any(|target| is_it(target)) {
                let message = format!("{folder} is a volume or tmpfs already; put {name} into a folder of its own");
                return wrong(message);
            }
        }
        match self.secrets.keys().find(|path| self.configs.contains_key(*path)) {
            Some(path) => Err(Invalid::new("configs", format!("{path} is a secret already"))),
            None => Ok(()),
        }
    }
}

/// The folder of a file, without a slash at its end.
fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
mod tests {
    use crate::wire::app::read_files;

    fn web(text: &str) -> Result<super::ComponentSpec, String> {
        let text = format!("app = 'shop'\n[component.web]\nimage = 'web'\n{text}");
        let app = read_files(&[("paas.toml", &text)], |_| None).map_err(|error| error.to_string())?;
        let mut app = app.normalise(None).map_err(|wrong| wrong.to_string())?;
        Ok(app.components.pop_first().unwrap().1)
    }

    #[test]
    fn files_lie_in_folders_that_nothing_else_is_mounted_at() {
        let good = "secrets = [{ name = 'key' }, { name = 'cert', file = '/etc/web/cert.pem' }]\n\
            configs = [{ source = 'a', target = '/etc/web/a.conf' }, { source = 'b', target = '/data/conf/b' }]\n\
            volumes = ['data:/data']\ntmpfs = ['/run']";
        assert!(web(good).unwrap().file_folders().into_iter().eq(["/data/conf", "/etc/web", "/run/secrets"]));
        for (wrong, said) in [
            ("secrets = [{ name = 'a', file = '/a' }]", "must be in a folder"),
            ("secrets = [{ name = 'a', file = 'run/a' }]", "must be the absolute path"),
            ("secrets = [{ name = 'a', file = '/etc/../a' }]", "must be the absolute path"),
            ("secrets = [{ name = 'a', file = '/etc//a' }]", "must be the absolute path"),
            ("configs = [{ source = 'a', target = '/etc/' }]", "must be the absolute path"),
            ("configs = [{ source = 'a', target = '/data/a' }]\nvolumes = ['data:/data']", "/data is a volume"),
            ("configs = [{ source = 'a', target = '/run/a' }]\ntmpfs = ['/run:size=1m']", "/run is a volume or tmpfs"),
            (
                "secrets = [{ name = 'a', file = '/e/a' }]\nconfigs = [{ source = 'a', target = '/e/a' }]",
                "/e/a is a secret",
            ),
        ] {
            let refused = web(wrong).unwrap_err();
            assert!(refused.contains(said), "{wrong}: {refused}");
        }
        let long = format!("configs = [{{ source = 'a', target = '/e/{}' }}]", "x".repeat(101));
        assert!(web(&long).unwrap_err().contains("100 bytes"));
    }

    #[test]
    fn a_file_belongs_to_whom_it_says_or_to_the_user_of_the_component() {
        let owner = |user: &str, uid, gid| {
            let web = web(&format!("secrets = [{{ name = 'key' }}]\n{user}")).unwrap();
            (web.file_owner(uid, gid), web.has_files_of_unknown_owner())
        };
        assert_eq!(owner("", None, None), ((0, 0), false));
        assert_eq!(owner("user = '1000'", None, None), ((1000, 0), false));
        assert_eq!(owner("user = '1000:33'", None, Some(7)), ((1000, 7), false));
        assert_eq!(owner("user = 'www-data'", Some(33), None), ((33, 0), true));
        assert_eq!(owner("user = 'www-data:33'", None, None), ((0, 33), true));
    }
}
