//! Files that are put into a container before it starts.

use std::collections::BTreeMap;

use bollard::body_full;
use bollard::query_parameters::UploadToContainerOptions;

use super::errors::Call;
use super::{Docker, deadlines};
use crate::engine::{ContainerFile, EngineErrorKind, Result};
use crate::model::ContainerId;

/// An archive is made of blocks, bytes.
const BLOCK: usize = 512;

impl Docker {
    /// Puts files where they belong, folder by folder: of a container whose root can only be read Docker takes an archive for the
    /// very folder of a volume, and none for what is above.
    pub(super) async fn put(&self, call: Call, id: &ContainerId, files: &[ContainerFile]) -> Result<()> {
        let mut folders: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        for file in files {
            let wrong =
                || call.error(EngineErrorKind::Refused, format!("{} cannot be put into a container", file.path));
            let (folder, name) = file.path.rsplit_once('/').ok_or_else(wrong)?;
            let header = header(name, file).ok_or_else(wrong)?;
            let archive = folders.entry(folder).or_default();
            archive.extend_from_slice(&header);
            archive.extend_from_slice(&file.content);
            archive.resize(archive.len().next_multiple_of(BLOCK), 0);
        }
        for (folder, mut archive) in folders {
            // Two empty blocks are its end.
            archive.resize(archive.len() + 2 * BLOCK, 0);
            let options = UploadToContainerOptions { path: folder.to_owned(), ..UploadToContainerOptions::default() };
            let asked = self.client.upload_to_container(id.as_str(), Some(options), body_full(archive.into()));
            call.within(deadlines::CHANGE, asked).await?;
        }
        Ok(())
    }
}

/// What stands before a file in an archive (POSIX.1-1988, "ustar"). Nothing where the name, the owner or the size has no room
/// there.
fn header(name: &str, file: &ContainerFile) -> Option<[u8; BLOCK]> {
    let mut header = [0; BLOCK];
    let mut write = |at: usize, length: usize, text: &[u8]| {
        header.get_mut(at..at + length)?.get_mut(..text.len())?.copy_from_slice(text);
        Some(())
    };
    // A number has seven digits of its field, and a zero byte at the end; a size and a time have eleven.
    let number = |number: u64, digits: usize| format!("{number:0digits$o}").into_bytes();
    write(0, 100, name.as_bytes())?;
    write(100, 7, &number(u64::from(file.mode), 7))?;
    write(108, 7, &number(u64::from(file.uid), 7))?;
    write(116, 7, &number(u64::from(file.gid), 7))?;
    write(124, 11, &number(file.content.len() as u64, 11))?;
    write(136, 11, &number(0, 11))?;
    // The sum is made as if its own field were of spaces.
    write(148, 8, b"        ")?;
    write(156, 1, b"0")?;
    write(257, 8, b"ustar\x0000")?;
    let sum: u64 = header.iter().map(|&byte| u64::from(byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    header.get_mut(148..156)?.copy_from_slice(sum.as_bytes());
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, uid: u32) -> ContainerFile {
        ContainerFile { path: path.to_owned(), content: "hello".into(), mode: 0o400, uid, gid: 7 }
    }

    /// Checked against what GNU tar 1.35 writes for such a file.
    #[test]
    fn a_header_is_as_tar_writes_it() {
        let header = header("key", &file("/run/secrets/key", 1000)).unwrap();
        let text = |at: usize, length: usize| String::from_utf8_lossy(&header[at..at + length]).into_owned();
        assert_eq!(text(0, 4), "key\0");
        assert_eq!(
            (text(100, 8), text(108, 8), text(116, 8)),
            ("0000400\0".into(), "0001750\0".into(), "0000007\0".into())
        );
        assert_eq!((text(124, 12), text(257, 8)), ("00000000005\0".into(), "ustar\0".to_owned() + "00"));
        let sum: u64 =
            header.iter().enumerate().map(|(at, &byte)| if (148..156).contains(&at) { 32 } else { byte.into() }).sum();
        assert_eq!(u64::from_str_radix(text(148, 6).trim(), 8).unwrap(), sum);
    }

    #[test]
    fn what_has_no_room_in_a_header_has_none() {
        assert!(header(&"x".repeat(100), &file("/a", 0)).is_some());
        assert!(header(&"x".repeat(101), &file("/a", 0)).is_none());
        assert!(header("a", &file("/a", 0o7_777_777)).is_some());
        assert!(header("a", &file("/a", 0o10_000_000)).is_none());
    }
}
