//! A disk that is soon full.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of its own, unmounted when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Makes the directory and mounts so many megabytes there; why it can't.
    pub fn mount(place: &Path, megabytes: u32) -> Result<Self, String> {
        std::fs::create_dir(place).map_err(|error| error.to_string())?;
        let options = format!("size={megabytes}m,mode=0777");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(place).output();
        match output {
            Ok(output) if output.status.success() => Ok(Self(place.to_owned())),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let filler = format!("of={}", self.filler().display());
        let _ = Command::new("dd").args(["if=/dev/zero", "bs=64k"]).arg(&filler).output();
        let _ =
            Command::new("dd").args(["if=/dev/zero", "bs=512", "conv=notrunc", "oflag=append"]).arg(&filler).output();
    }

    /// Gives it back.
    pub fn make_room(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(&self.0).status();
    }
}
