//! Landlock: a second fence behind the mounts. Reading and executing
//! everywhere in the root, writing only where a job may write, no signals and
//! no abstract sockets to processes outside. It must never be the only fence:
//! a machine without it still has all the others.

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope,
};
use std::path::Path;

/// Places of every root that may be written, beside the directories of the job.
const WRITABLE: [&str; 4] = ["/tmp", "/dev", "/proc", "/home"];

/// The number of [`NEWEST`], for the record.
pub(crate) const NEWEST_NUMBER: u32 = 6;

/// The newest interface that the rules below were written for.
const NEWEST: ABI = ABI::V6;

/// The ABI that the kernel offers; 0 if none.
#[expect(unsafe_code, reason = "the crate keeps the number to itself")]
pub(crate) fn abi() -> u32 {
    const VERSION: u32 = 1;
    // SAFETY: with this flag the call only returns a number.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, VERSION) };
    u32::try_from(version).unwrap_or(0)
}

/// Enters the rules for good; everything forked from now on shares this one
/// domain, so that commands of a job may signal and connect to each other.
pub(crate) fn enter(writable: &[impl AsRef<Path>]) -> Result<(), RulesetError> {
    let all = AccessFs::from_all(NEWEST);
    let read = AccessFs::from_read(NEWEST);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?;
    let places = std::iter::once((Path::new("/"), read))
        .chain(WRITABLE.iter().map(|p| (Path::new(*p), all)))
        .chain(writable.iter().map(|p| (p.as_ref(), all)));
    for (path, access) in places {
        // What does not exist needs no rule.
        let Ok(fd) = PathFd::new(path) else { continue };
        let access: BitFlags<AccessFs> = access;
        rules = rules.add_rule(PathBeneath::new(fd, access))?;
    }
    rules.restrict_self()?;
    Ok(())
}
