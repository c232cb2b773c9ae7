//! `backup` and `restore`: a copy of the state in one file, and back.

use crate::connect::ServerArgs;
use crate::environment;
use crate::error::{CliError, Exit, Result};
use crate::output::{self, Format};
use crate::wiring;
use clap::Args;
use fleetfoot_client::{ClientError, ErrorKind, Unreachable};
use fleetfoot_store::{Store, StoreErrorKind};
use fleetfoot_store_sqlite::SqliteStore;
use std::path::{Path, PathBuf};

/// Write a copy of the state to a new file, while the server goes on
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot backup /backups/fleetfoot-monday.db\n  \
    fleetfoot backup state.db --data /var/lib/fleetfoot      without a server\n\n\
    The server writes the file, on its machine. Without a running server the state directory is read directly.\n\
    The copy holds runs, jobs, runners and tokens (as hashes); logs and the key for secrets (secret.key) lie\n\
    beside the database and are files to copy.")]
pub(crate) struct BackupArgs {
    /// The file, which must not exist
    file: PathBuf,
    /// State directory to read when no server answers
    #[arg(long, value_name = "DIR", env = environment::DATA)]
    data: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn backup(args: BackupArgs, format: Format) -> Result {
    let file = std::path::absolute(&args.file)
        .map_err(|e| CliError::usage(format!("{} is not a path", args.file.display())).because(&e))?;
    match args.server.client()?.backup(&file).await {
        Ok(()) => {}
        Err(error) if nobody_listens(&error) => {
            let data = args.data.clone().unwrap_or_else(environment::default_data_dir);
            if !data.is_dir() {
                return Err(
                    CliError::from(error).hint(format!("and there is no state in {}", data.display()))
                );
            }
            let store =
                SqliteStore::open(&data, Default::default()).map_err(|e| wiring::store_error(&e, &data))?;
            store.backup(&file).await.map_err(|e| wiring::store_error(&e, &data))?;
        }
        Err(error) => return Err(error.into()),
    }
    done("backup", &file, format)
}

fn nobody_listens(error: &ClientError) -> bool {
    error.kind == ErrorKind::Unreachable(Unreachable::Refused)
}

/// Bring a backup back into a state directory
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot restore fleetfoot-monday.db --data /var/lib/fleetfoot\n  \
    fleetfoot restore fleetfoot-monday.db --force      replaces what is there\n\n\
    The server must not be running. Secrets of waiting runs need the secret.key of the backed-up directory.")]
pub(crate) struct RestoreArgs {
    /// The backup
    file: PathBuf,
    /// State directory [default: that of `up`]
    #[arg(long, value_name = "DIR", env = environment::DATA)]
    data: Option<PathBuf>,
    /// Replace an existing database
    #[arg(long)]
    force: bool,
}

pub(crate) fn restore(args: &RestoreArgs, format: Format) -> Result {
    let data = args.data.clone().unwrap_or_else(environment::default_data_dir);
    if !args.file.is_file() {
        return Err(CliError::usage(format!("there is no file {}", args.file.display())));
    }
    fleetfoot_store_sqlite::restore(&args.file, &data, args.force).map_err(|e| match e.kind {
        StoreErrorKind::Corrupt => CliError::usage(e.to_string())
            .because_of_source(&e)
            .hint("name a file that `fleetfoot backup` wrote; nothing was changed"),
        _ => wiring::store_error(&e, &data),
    })?;
    done("restored", &data, format)
}

fn done(word: &str, path: &Path, format: Format) -> Result {
    match format {
        Format::Json => output::json(&serde_json::json!({ word: path }))?,
        Format::Text => output::line(&path.display().to_string())?,
    }
    Ok(Exit::Ok)
}
