//! Filesystems of a test's own: mounted for it, unmounted when it ends. Needs root; where that is missing, the error says why.

use std::path::Path;
use std::process::Command;

/// Runs a program; what it complained of, if it failed.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output().map_err(|e| format!("{program}: {e}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// A place to mount something at; unmounted and removed when it goes.
pub(crate) struct Mount {
    dir: tempfile::TempDir,
}

impl Mount {
    /// Mounts as `mount ARGS` would.
    pub(crate) fn new(args: &[&str]) -> Result<Mount, String> {
        let mount = Mount { dir: tempfile::tempdir().map_err(|e| e.to_string())? };
        mount.mount(args)?;
        Ok(mount)
    }

    /// A filesystem in memory of so many bytes.
    pub(crate) fn tmpfs(bytes: u64) -> Result<Mount, String> {
        Mount::new(&["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"])
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    fn mount(&self, args: &[&str]) -> Result<(), String> {
        run("mount", &[args, &[self.path().to_str().unwrap_or_default()]].concat())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _unmounted = run("umount", &[self.path().to_str().unwrap_or_default()]);
    }
}
