//! Files with secrets that others can read.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A file that holds a secret, and that others can read or write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    /// The file.
    pub path: PathBuf,
    /// Its mode.
    pub mode: u32,
    own: bool,
}

/// What matters of a file.
#[derive(Debug, Clone, Copy)]
struct Seen {
    user: u32,
    mode: u32,
    /// The file systems that it and its directory lie on.
    devices: (u64, u64),
}

impl Seen {
    fn at(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        let file = path.metadata()?;
        let directory = path.parent().unwrap_or(&path).metadata()?;
        let devices = (file.dev(), directory.dev());
        Ok(Self { user: file.uid(), mode: file.mode() & 0o777, devices })
    }

    /// Whether others than `user` can get at it. A file of this user is for it alone. Another's was
    /// put there for this one, by a service manager or a cluster: its group may read it, for that is
    /// how they hand it over. What is mounted by itself, as Compose does, has the mode that it has
    /// elsewhere, which says nothing of who is here.
    const fn is_exposed_to_others_than(self, user: u32) -> bool {
        if self.user == user {
            return self.mode & 0o077 != 0;
        }
        let (file, directory) = self.devices;
        self.mode & 0o007 != 0 && file == directory
    }
}

impl Exposure {
    /// What others can do with a file that a secret was read from, if they can. A file that is not
    /// there, or cannot be looked at, is exposed to nobody.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let (seen, user) = (Seen::at(path).ok()?, rustix::process::geteuid().as_raw());
        let own = seen.user == user;
        seen.is_exposed_to_others_than(user).then(|| Self {
            path: path.to_owned(),
            mode: seen.mode,
            own,
        })
    }

    /// What to do.
    #[must_use]
    pub fn remedy(&self) -> String {
        let path = self.path.display();
        if self.own {
            format!("`chmod 600 {path}`")
        } else {
            format!(
                "give it to the user of the node (`chown`, then `chmod 600 {path}`), or to its group \
                 alone (mode 440; in Kubernetes `defaultMode: 0440` beside an fsGroup)"
            )
        }
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, mode, .. } = self;
        write!(f, "{} holds a secret, and others can get at it (mode {mode:o})", path.display())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_of_ones_own_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert_eq!(Exposure::of(&path), None, "there is none");
        std::fs::write(&path, "secret").unwrap();
        for (mode, exposed) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let found = Exposure::of(&path);
            assert_eq!(found.is_some(), exposed, "{mode:o}");
            let Some(found) = found else { continue };
            assert!(found.to_string().contains(&format!("mode {mode:o}")), "{found}");
            assert_eq!(found.remedy(), format!("`chmod 600 {}`", path.display()));
        }
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(Exposure::of(&link).unwrap().mode, 0o604, "the file counts, not the link");
    }

    #[test]
    fn what_was_put_there_for_this_user_is_for_its_group_too() {
        let seen = |mode, devices| Seen { user: 0, mode, devices };
        for (mode, exposed) in [(0o440, false), (0o640, false), (0o644, true), (0o642, true)] {
            assert_eq!(seen(mode, (1, 1)).is_exposed_to_others_than(65_532), exposed, "{mode:o}");
            assert!(!seen(mode, (2, 1)).is_exposed_to_others_than(65_532), "mounted by itself");
        }
        assert!(seen(0o440, (1, 1)).is_exposed_to_others_than(0), "it is this user's own");
        let foreign = Exposure { path: "/run/token".into(), mode: 0o644, own: false };
        assert!(foreign.remedy().contains("defaultMode: 0440"));
    }
}
