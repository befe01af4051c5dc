//! The log of a process in the background: a file that it writes itself, so that it goes on when nobody looks, and that is
//! kept short by whoever waits for it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Error;

/// A log longer than this is set aside and begun anew; one older part is kept.
pub const LONGEST: u64 = 10 << 20;

/// Makes the log and opens it for the process. Appending: after it was cut it begins at its beginning.
pub fn create(path: &Path) -> Result<File, Error> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(Error::file("make", directory))?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(Error::file("make", path))
}

/// Sets a log aside that has grown too long. What is written between the copy and the cut is lost: nobody stops the process.
pub fn rotate(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.len() <= LONGEST {
        return Ok(());
    }
    // A process that writes without pause must not make the copy grow for ever.
    let mut last = File::open(path)?.take(2 * LONGEST);
    let aside = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(older(path));
    let copied = aside.and_then(|mut aside| io::copy(&mut last, &mut aside));
    // Also when there is no room for the copy: then above all.
    OpenOptions::new().write(true).open(path)?.set_len(0)?;
    copied.map(drop)
}

/// Removes a log with its older part.
pub fn remove(path: &Path) {
    for file in [older(path), path.to_owned()] {
        // A process in the foreground has none.
        let _ = fs::remove_file(file);
    }
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

/// Reads a log from where it was last read to.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    position: u64,
}

impl Reader {
    /// Writes all of the log there is, or its last lines, and goes on behind them.
    pub fn begin(path: &Path, tail: Option<usize>, out: &mut impl Write) -> io::Result<Self> {
        let mut all = fs::read(older(path)).unwrap_or_default();
        let recent = fs::read(path)?;
        let position = recent.len().try_into().unwrap_or(u64::MAX);
        all.extend(recent);
        out.write_all(tail.map_or(&all, |lines| last_lines(&all, lines)))?;
        Ok(Self { path: path.to_owned(), position })
    }

    /// Writes what has come since. A log that has become shorter was begun anew.
    pub fn go_on(&mut self, out: &mut impl Write) -> io::Result<()> {
        let mut file = File::open(&self.path)?;
        if file.metadata()?.len() < self.position {
            self.position = 0;
        }
        file.seek(SeekFrom::Start(self.position))?;
        self.position += io::copy(&mut file, out)?;
        out.flush()
    }
}

fn last_lines(text: &[u8], lines: usize) -> &[u8] {
    let ended = text.strip_suffix(b"\n").unwrap_or(text);
    if lines == 0 {
        return &[];
    }
    let ends = ended.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    let begin = ends.map(|(at, _)| at + 1).nth(lines - 1).unwrap_or(0);
    text.get(begin..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_whole() {
        for (lines, expected) in [(0, ""), (1, "c\n"), (2, "b\nc\n"), (9, "a\nb\nc\n")] {
            assert_eq!(last_lines(b"a\nb\nc\n", lines), expected.as_bytes(), "{lines}");
        }
        assert_eq!(last_lines(b"a\nb", 1), b"b");
        assert_eq!(last_lines(b"", 1), b"");
    }

    #[test]
    fn a_log_that_grew_is_set_aside_and_read_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        let mut log = create(&path).unwrap();
        log.write_all(b"the first line\n").unwrap();
        let mut seen = Vec::new();
        let mut reader = Reader::begin(&path, None, &mut seen).unwrap();
        log.write_all(&vec![b'x'; usize::try_from(LONGEST).unwrap()]).unwrap();
        rotate(&path).unwrap();
        log.write_all(b"\nlast\n").unwrap();
        reader.go_on(&mut seen).unwrap();
        assert_eq!(seen, b"the first line\n\nlast\n");
        assert_eq!(fs::metadata(&path).unwrap().len(), 6);
        remove(&path);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_log_that_cannot_be_set_aside_is_begun_anew_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.log");
        create(&path).unwrap().set_len(LONGEST + 1).unwrap();
        fs::create_dir(older(&path)).unwrap();
        assert!(rotate(&path).is_err());
        assert_eq!(fs::metadata(&path).unwrap().len(), 0);
    }
}
