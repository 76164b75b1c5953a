//! Configuration files of an application, which lie beside the file that declares it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use paas_core::files;
use paas_core::wire::app::{AppRequest, ConfigRequest, read_files};

use crate::failure::Failure;

/// A configuration file that is sent before the application.
#[derive(Debug)]
pub(crate) struct ConfigContent {
    pub(crate) sha256: String,
    pub(crate) content: Vec<u8>,
}

/// The folder in which the configuration files of each component lie: that of the last file that names any.
pub(super) fn folders<'a>(files: impl Iterator<Item = (&'a Path, (&'a str, &'a str))>) -> BTreeMap<String, PathBuf> {
    let mut folders = BTreeMap::new();
    for (path, file) in files {
        // What is wrong with it is said where all are read.
        let Ok(app) = read_files(&[file], |_| Some(String::new())) else { continue };
        let folder = path.parent().unwrap_or(Path::new(""));
        let with_configs = app.component.into_iter().filter(|(_, component)| !component.configs.is_empty());
        folders.extend(with_configs.map(|(name, _)| (name, folder.to_owned())));
    }
    folders
}

/// Reads the configuration files of an application, and notes in it what is in them. One that is not there is taken as the server
/// has it, where the file says which content that is.
pub(super) fn read(app: &mut AppRequest, folders: &BTreeMap<String, PathBuf>) -> Result<Vec<ConfigContent>, Failure> {
    let mut contents: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut together = 0;
    for (name, component) in &mut app.component {
        for config in &mut component.configs {
            let path =
                folders.get(name).map_or_else(|| PathBuf::from(&config.source), |folder| folder.join(&config.source));
            let wrong = |what: String| Failure::Usage(format!("component.{name}.configs: {}: {what}", path.display()));
            let content = match files::read_regular(&path, ConfigRequest::LARGEST) {
                Ok(content) => content,
                Err(error) if error.kind() == ErrorKind::NotFound && config.sha256.is_some() => continue,
                Err(error) => return Err(wrong(format!("cannot be read: {error}"))),
            };
            let sum = ConfigRequest::sum_of(&content);
            if contents.insert(sum.clone(), content).is_none() {
                together += contents[&sum].len() as u64;
            }
            if together > ConfigRequest::LARGEST_TOGETHER {
                return Err(wrong("is too much: all files of an application may have 4 MB together".to_owned()));
            }
            config.sha256 = Some(sum);
        }
    }
    Ok(contents.into_iter().map(|(sha256, content)| ConfigContent { sha256, content }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_lie_beside_the_file_that_names_them() {
        let place = tempfile::tempdir().unwrap();
        let (base, other) = (place.path().join("base"), place.path().join("other"));
        for (folder, content) in [(&base, "base"), (&other, "other")] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join("web.conf"), content).unwrap();
        }
        let web =
            "[component.web]\nimage = 'web:${TAG}'\nconfigs = [{ source = 'web.conf', target = '/etc/web/web.conf' }]";
        let db = "[component.db]\nimage = 'db'\nconfigs = [{ source = 'web.conf', target = '/etc/db/db.conf' }]\n";
        let texts =
            [(base.join("paas.toml"), format!("app = 'shop'\n{web}\n{db}")), (other.join("more.toml"), web.to_owned())];
        let files: Vec<(&str, &str)> =
            texts.iter().map(|(path, text)| (path.to_str().unwrap(), text.as_str())).collect();
        let mut app = read_files(&files, |_| Some("1".to_owned())).unwrap();
        let folders = folders(texts.iter().map(|(path, _)| path.as_path()).zip(files.iter().copied()));
        let contents = read(&mut app, &folders).unwrap();
        let content_of = |component: &str| {
            let sum = app.component[component].configs[0].sha256.clone().unwrap();
            let found = contents.iter().find(|content| content.sha256 == sum).unwrap();
            String::from_utf8(found.content.clone()).unwrap()
        };
        assert_eq!((content_of("web"), content_of("db")), ("other".to_owned(), "base".to_owned()));

        std::fs::remove_file(other.join("web.conf")).unwrap();
        let known = app.component["web"].configs[0].sha256.clone();
        assert_eq!(read(&mut app, &folders).unwrap().len(), 1, "the other one is as the server has it");
        assert_eq!(app.component["web"].configs[0].sha256, known);
        app.component.get_mut("web").unwrap().configs[0].sha256 = None;
        let missing = read(&mut app, &folders).unwrap_err();
        assert!(format!("{missing:?}").contains("other/web.conf"), "{missing:?}");
        std::fs::write(other.join("web.conf"), vec![0; (512 << 10) + 1]).unwrap();
        assert!(format!("{:?}", read(&mut app, &folders).unwrap_err()).contains("it has more than 512 KB"));
    }
}
