//! What a command is, in the form in which the keeper takes it: lists of
//! addresses and the strings behind them. All decisions (where to look for the
//! program, which variables) have been made here. It must never put a value
//! into a message: it may be a secret.

use fleetfoot_driver::{Command, DriverError, DriverErrorKind};
use fleetfoot_driver_linux::io::{c_path, c_string, environment};
use std::ffi::CString;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const ENOTDIR: i32 = 20;

/// Paths at which the program is looked for, in this order.
fn programs(command: &Command) -> Result<Vec<CString>, DriverError> {
    if command.program.is_empty() || command.program.contains('/') {
        return Ok(vec![c_string(&command.program)?]);
    }
    let path = command.env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
    path.split(':')
        .map(|d| if d.is_empty() { command.program.clone() } else { format!("{d}/{}", command.program) })
        .map(|p| c_string(&p))
        .collect()
}

/// Four counts (programs, arguments, variables, bytes), then offsets of the programs, of the arguments
/// and a zero, of the variables and a zero, of the directory; then the strings.
pub(super) fn lay_out(command: &Command) -> Result<Vec<u8>, DriverError> {
    let programs = programs(command)?;
    let mut args = vec![c_string(&command.program)?];
    for argument in &command.args {
        args.push(c_string(argument)?);
    }
    let variables = environment(command, &[])?;
    let directory = c_path(&command.working_directory)?;
    let slots = programs.len() + args.len() + 1 + variables.len() + 1 + 1;
    let mut strings: Vec<u8> = Vec::new();
    let mut head: Vec<usize> = vec![programs.len(), args.len(), variables.len(), 0];
    let start = (4 + slots) * size_of::<usize>();
    let mut add = |head: &mut Vec<usize>, text: &CString| {
        head.push(start + strings.len());
        strings.extend_from_slice(text.as_bytes_with_nul());
    };
    programs.iter().for_each(|p| add(&mut head, p));
    args.iter().for_each(|a| add(&mut head, a));
    head.push(0);
    variables.iter().for_each(|v| add(&mut head, v));
    head.push(0);
    add(&mut head, &directory);
    head[3] = start + strings.len();
    let mut bytes: Vec<u8> = head.iter().flat_map(|n| n.to_ne_bytes()).collect();
    bytes.extend(strings);
    Ok(bytes)
}

/// Why a command did not start, with the words that every boundary has for it.
pub(super) fn not_started(what: u8, error: i32, command: &Command) -> DriverError {
    let source = std::io::Error::from_raw_os_error(error);
    match what {
        b'W' => {
            let directory = command.working_directory.display();
            DriverError::io(
                format!("cannot enter the working directory '{directory}' in the container"),
                source,
            )
        }
        b'E' if !command.program.contains('/') && matches!(error, ENOENT | ENOTDIR) => DriverError::new(
            DriverErrorKind::NotFound,
            format!("the program '{}' was not found in PATH", command.program),
        ),
        b'E' if !command.program.contains('/') && error == EACCES => DriverError::new(
            DriverErrorKind::Denied,
            format!("the program '{}' is not executable for this user", command.program),
        ),
        b'E' => DriverError::io(format!("cannot execute '{}'", command.program), source),
        _ => DriverError::io("cannot start another process in the container", source),
    }
}
