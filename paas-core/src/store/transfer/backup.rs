//! Backups: text files of JSON, one value a line.
//!
//! The first line is the header: `{"format": "paas-backup", "version": 1, "created": time, "program": version,
//! "documents": {table: count, …}}`. Then comes a line for every document, by table and key in ascending order:
//! `{"table": …, "key": …, "body": …}`. The last line is `{"lines": count, "sha256": checksum}`: how many lines are
//! before it, and the SHA-256 of all of them with their line ends, in hexadecimal digits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};

use super::source::{PAGE, Row, Source, StoreSource};
use super::{Report, Result, TransferError};
use crate::store::{Store, Table, check_key, tables};

/// The longest line that is read, bytes: far more than any document has.
const LONGEST_LINE: u64 = 64 << 20;
const FORMAT: &str = "paas-backup";
/// The version of the format. One that changes gets another number; this program reads all up to its own.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    created: Timestamp,
    program: String,
    documents: BTreeMap<String, usize>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    table: String,
    key: String,
    body: Value,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trailer {
    lines: usize,
    sha256: String,
}

/// Writes everything of a store.
pub(super) async fn write(from: &dyn Store, path: &Path) -> Result<Report> {
    let failed = || TransferError::file(path, "written");
    if fs::try_exists(path).await.map_err(failed())? {
        return Err(TransferError::FileExists(path.to_owned()));
    }
    let counts = count(from).await?;
    let mut half = path.as_os_str().to_owned();
    half.push(".part");
    let half = PathBuf::from(half);
    // There are hashes of passwords, certificates and keys in it.
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&half).await;
    let mut out = Out { file: BufWriter::new(file.map_err(failed())?), sum: Sha256::new(), lines: 0 };
    let header = Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        created: Timestamp::now(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        documents: counts.iter().map(|(table, count)| (table.name().to_owned(), *count)).collect(),
    };
    out.line(&header).await.map_err(failed())?;
    let mut source = Source::Store(StoreSource::new(from));
    for &(table, expected) in &counts {
        let mut found = 0;
        loop {
            let page = source.page(table).await?;
            if page.is_empty() {
                break;
            }
            found += page.len();
            for (key, body) in page {
                out.line(&Line { table: table.name().to_owned(), key, body }).await.map_err(failed())?;
            }
        }
        if found != expected {
            return Err(TransferError::Changed { table, expected, found });
        }
    }
    out.finish().await.map_err(failed())?;
    fs::rename(&half, path).await.map_err(failed())?;
    Ok(Report { changes: counts.iter().map(|(_, count)| count).sum(), documents: counts })
}

async fn count(from: &dyn Store) -> Result<Vec<(Table, usize)>> {
    let mut source = Source::Store(StoreSource::new(from));
    let mut counts = Vec::new();
    for table in tables::ALL {
        let mut count = 0;
        loop {
            let page = source.page(table).await?;
            if page.is_empty() {
                break;
            }
            count += page.len();
        }
        counts.push((table, count));
    }
    Ok(counts)
}

/// A file that is written line by line, with its checksum.
struct Out {
    file: BufWriter<File>,
    sum: Sha256,
    lines: usize,
}

impl Out {
    async fn line(&mut self, line: &impl Serialize) -> std::io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.sum.update(&text);
        self.lines += 1;
        self.file.write_all(&text).await
    }

    /// Writes the last line, and waits until everything is on the disk.
    async fn finish(mut self) -> std::io::Result<()> {
        let trailer = Trailer { lines: self.lines, sha256: hex::encode(self.sum.clone().finalize()) };
        self.line(&trailer).await?;
        self.file.flush().await?;
        self.file.get_ref().sync_all().await
    }
}

/// A backup that is read line by line.
#[derive(Debug)]
pub(super) struct Backup {
    path: PathBuf,
    file: BufReader<File>,
    /// What is read and not taken yet.
    next: Option<Line>,
    line: Vec<u8>,
    lines: usize,
}

impl Backup {
    /// A backup that was checked, from its first document.
    pub(super) async fn open(path: &Path) -> Result<Self> {
        let mut backup = Self::begin(path).await?;
        backup.read().await?;
        Ok(backup)
    }

    async fn begin(path: &Path) -> Result<Self> {
        let file = File::open(path).await.map_err(TransferError::file(path, "read"))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(1 << 16, file),
            next: None,
            line: Vec::new(),
            lines: 0,
        })
    }

    /// Reads a line into `self.line`; says whether there was one, with its end.
    async fn read(&mut self) -> Result<bool> {
        self.line.clear();
        let read = (&mut self.file).take(LONGEST_LINE).read_until(b'\n', &mut self.line).await;
        read.map_err(TransferError::file(&self.path, "read"))?;
        self.lines += 1;
        Ok(self.line.last() == Some(&b'\n'))
    }

    fn wrong(&self, why: impl Into<String>) -> TransferError {
        TransferError::NotABackup { path: self.path.clone(), why: why.into() }
    }

    fn wrong_line(&self, why: &str) -> TransferError {
        self.wrong(format!("{why} (line {})", self.lines))
    }

    pub(super) async fn page(&mut self, table: Table) -> Result<Vec<Row>> {
        let mut page = Vec::new();
        while page.len() < PAGE {
            if self.next.is_none() && self.read().await? {
                // The last line is none, and what was checked has no other.
                self.next = serde_json::from_slice(&self.line).ok();
            }
            match self.next.take_if(|line| line.table == table.name()) {
                Some(line) => page.push((line.key, line.body)),
                None => break,
            }
        }
        Ok(page)
    }
}

/// Reads a whole backup, and refuses one that is not as it was written. Gives a name for what is in it.
pub(super) async fn check(path: &Path) -> Result<String> {
    let mut backup = Backup::begin(path).await?;
    let has_header = backup.read().await?;
    let header: Option<Header> = serde_json::from_slice(&backup.line).ok();
    let Some(header) = header.filter(|header| has_header && header.format == FORMAT) else {
        return Err(backup.wrong("it does not begin as one"));
    };
    if header.version > VERSION {
        return Err(backup.wrong(format!(
            "it is of version {}, and this program knows {VERSION}; use a newer program",
            header.version
        )));
    }
    let mut sum = Sha256::new();
    sum.update(&backup.line);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut last: Option<(usize, String)> = None;
    loop {
        if !backup.read().await? {
            return Err(backup.wrong("its end is missing: the file was cut off"));
        }
        if let Ok(trailer) = serde_json::from_slice::<Trailer>(&backup.line) {
            let sum = hex::encode(sum.finalize());
            if trailer.sha256 != sum || trailer.lines != backup.lines - 1 {
                return Err(backup.wrong("it was changed or damaged: its checksum is another"));
            }
            backup.line.clear();
            if backup.read().await? || !backup.line.is_empty() {
                return Err(backup.wrong_line("something follows its end"));
            }
            let expected: BTreeMap<String, usize> =
                header.documents.into_iter().filter(|(_, count)| *count > 0).collect();
            if counts != expected {
                return Err(backup.wrong("it has not as many documents as it says"));
            }
            return Ok(format!("backup {sum}"));
        }
        sum.update(&backup.line);
        let Ok(line) = serde_json::from_slice::<Line>(&backup.line) else {
            return Err(backup.wrong_line("it was damaged"));
        };
        let Some(place) = tables::ALL.iter().position(|table| table.name() == line.table) else {
            return Err(backup.wrong_line("it has a table that this program does not know; use a newer program"));
        };
        if check_key("restore", tables::ALL[place], &line.key).is_err() {
            return Err(backup.wrong_line("it has a key that cannot be one"));
        }
        let here = Some((place, line.key));
        if here <= last {
            return Err(backup.wrong_line("its documents are out of order"));
        }
        last = here;
        *counts.entry(line.table).or_default() += 1;
    }
}
