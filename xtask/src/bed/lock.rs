//! One bed at a time: all beds of a machine have the same addresses.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::shell;

/// A program that works with the bed holds a lock on this file. There only while one does.
const FILE: &str = "/run/paas-bed.lock";
/// Whole test programs may come first.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// The bed is nobody else's as long as this lives.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Waits until nobody else works with the bed. Says so, once, when it has to wait.
    ///
    /// # Errors
    /// When it takes too long, or the file cannot be written.
    pub(super) fn take() -> Result<Self> {
        Self::take_file(Path::new(FILE), TIMEOUT)
    }

    fn take_file(path: &Path, deadline: Duration) -> Result<Self> {
        let begun = Instant::now();
        let mut said = false;
        loop {
            if let Some(lock) = Self::try_take(path).with_context(|| format!("{} cannot be locked", path.display()))? {
                return Ok(lock);
            }
            let holder = fs::read_to_string(path).unwrap_or_default();
            let holder = if holder.is_empty() { "somebody" } else { holder.trim() };
            if !said {
                say(&format!("The bed is in use by {holder}; waiting until it is free …"));
                said = true;
            }
            if begun.elapsed() > deadline {
                bail!("the bed is still in use by {holder}, after {} minutes", deadline.as_secs() / 60);
            }
            shell::pause(Duration::from_millis(100));
        }
    }

    fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // The program that held it before may have removed the file after it was opened here.
        let is_the_one =
            fs::metadata(path).is_ok_and(|there| file.metadata().is_ok_and(|own| own.ino() == there.ino()));
        if !is_the_one {
            return Ok(None);
        }
        file.set_len(0)?;
        write!(file, "process {} ({})", std::process::id(), shell::program(std::process::id()))?;
        Ok(Some(Self { path: path.to_owned(), _file: file }))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // One that stays is taken by the next all the same.
        let _ = fs::remove_file(&self.path);
    }
}

/// Says something to people, also from within a test.
pub(super) fn say(text: &str) {
    // Nobody listens: that is no reason to stop.
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod checks {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("paas-bed-{name}-{}.lock", std::process::id()))
    }

    #[test]
    fn one_at_a_time_and_nothing_stays() {
        let (path, inside) = (file("many"), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let lock = Lock::take_file(&path, TIMEOUT).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    shell::pause(Duration::from_millis(5));
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(lock);
                });
            }
        });
        assert!(!path.exists());
    }

    #[test]
    fn who_holds_it_is_told_when_it_takes_too_long() {
        let path = file("held");
        let held = Lock::take_file(&path, TIMEOUT).unwrap();
        let refused = Lock::take_file(&path, Duration::from_millis(10)).unwrap_err().to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        drop(held);
        Lock::take_file(&path, Duration::ZERO).unwrap();
    }
}
