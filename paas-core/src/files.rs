//! Files and streams that somebody names. What they are is not known before they are read, so no more is read of them than may be in
//! them: a device or a pipe need not end.

use std::fs::{self, File};
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

/// The most that is read of a text that a person writes, or of a certificate, bytes.
pub const LARGEST_TEXT: usize = 4 << 20;

/// What a file has that a person names, which may be a pipe as well: at most `most` bytes.
///
/// # Errors
/// It cannot be read, or has more.
pub fn read(path: &Path, most: usize) -> Result<Vec<u8>> {
    read_from(File::open(path)?, most)
}

/// The text of a file that a person names: at most [`LARGEST_TEXT`] bytes.
///
/// # Errors
/// As [`read`]; or it is no UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    text(read(path, LARGEST_TEXT)?)
}

/// What a file has that another file names: at most `most` bytes. It has to be a regular one; opening a pipe could wait for ever.
///
/// # Errors
/// As [`read`]; or it is something else than a file.
pub fn read_regular(path: &Path, most: usize) -> Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    read(path, most)
}

/// What a stream has until its end: at most `most` bytes.
///
/// # Errors
/// It cannot be read, or has more.
pub fn read_from(stream: impl Read, most: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One more than may be: so it is known that there are more, and not how many.
    stream.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("it has more than {} KB", most >> 10)));
    }
    Ok(bytes)
}

/// Bytes as text.
///
/// # Errors
/// They are no UTF-8.
pub fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| Error::new(ErrorKind::InvalidData, "it is no text in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_may_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, [b'x'; 2048]).unwrap();
        assert_eq!((read(&file, 2048).unwrap().len(), read_regular(&file, 2048).unwrap().len()), (2048, 2048));
        for endless in [&file, Path::new("/dev/zero")] {
            let wrong = read(endless, 2047).unwrap_err();
            assert_eq!((wrong.kind(), wrong.to_string().as_str()), (ErrorKind::FileTooLarge, "it has more than 1 KB"));
        }
        assert_eq!(read_text(Path::new("/dev/zero")).unwrap_err().kind(), ErrorKind::FileTooLarge);
        fs::write(&file, b"\xff").unwrap();
        assert_eq!(read_text(&file).unwrap_err().to_string(), "it is no text in UTF-8");
    }

    #[test]
    fn what_another_file_names_is_a_file() {
        let folder = tempfile::tempdir().unwrap();
        for other in [Path::new("/dev/zero"), folder.path()] {
            assert_eq!(read_regular(other, 9).unwrap_err().to_string(), "it is no regular file");
        }
        let missing = read_regular(&folder.path().join("missing"), 9).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }
}
