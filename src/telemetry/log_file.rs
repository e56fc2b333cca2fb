//! Log files: when another is begun, and how many are kept.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use tracing_appender::rolling::{RollingFileAppender, Rotation};

use super::logging::LoggingError;
use crate::config::Rotate;

/// Opens the file that the log goes to from now on. The directory is made if it is absent, with mode
/// 700; of files whose names begin and end as the log's, the newest `keep` stay beside it.
///
/// # Errors
/// [`LoggingError::Files`] where the directory or the file cannot be made.
pub(super) fn open(
    directory: &Path,
    rotate: Rotate,
    keep: u32,
) -> Result<RollingFileAppender, LoggingError> {
    let failed = |cause: String| LoggingError::Files { directory: directory.to_owned(), cause };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| failed(error.to_string()))?;
    let rotation = match rotate {
        Rotate::Hourly => Rotation::HOURLY,
        Rotate::Daily => Rotation::DAILY,
        Rotate::Never => Rotation::NEVER,
    };
    let mut files = RollingFileAppender::builder()
        .rotation(rotation)
        .filename_prefix("ocm")
        .filename_suffix("log");
    if rotate != Rotate::Never {
        // The library makes room for another file as it opens one, be it that of this hour or day.
        files = files.max_log_files(keep as usize + 1);
    }
    files.build(directory).map_err(|error| failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn the_newest_files_are_kept_and_others_left_alone() {
        let dir = tempfile::TempDir::new().unwrap();
        let logs = dir.path().join("deep/logs");
        drop(open(&logs, Rotate::Never, 3).unwrap());
        assert_eq!(names(&logs), ["ocm.log"]);
        assert_eq!(std::fs::metadata(&logs).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::remove_file(logs.join("ocm.log")).unwrap();
        for name in ["ocm.2020-01-01.log", "ocm.2020-01-02.log", "ocm.2020-01-03.log", "notes"] {
            std::fs::write(logs.join(name), "").unwrap();
        }
        let mut log = open(&logs, Rotate::Daily, 1).unwrap();
        log.write_all(b"one line").unwrap();
        let found = names(&logs);
        let [old, today] =
            &found.iter().filter(|name| name.ends_with(".log")).collect::<Vec<_>>()[..]
        else {
            panic!("{found:?}")
        };
        assert!(old.starts_with("ocm.2020") && !today.starts_with("ocm.2020"), "{found:?}");
        assert!(found.contains(&"notes".to_owned()), "{found:?}");
        drop(open(&logs, Rotate::Daily, 1).unwrap());
        assert_eq!(std::fs::read(logs.join(today)).unwrap(), b"one line", "it goes on");
    }

    #[test]
    fn where_no_file_can_be_written_the_error_names_the_directory() {
        let dir = tempfile::TempDir::new().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let told = open(&file.join("logs"), Rotate::Daily, 2).unwrap_err().to_string();
        assert!(told.contains("file/logs") && told.contains("logging.directory"), "{told}");
    }
}
