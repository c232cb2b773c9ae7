//! `token`: create, list and revoke API and registration tokens.

use crate::clock;
use crate::connect::ServerArgs;
use crate::error::{CliError, Exit, Result};
use crate::output::{self, Format};
use crate::style;
use clap::{ArgGroup, Args, Subcommand};
use fleetfoot_model::api::{CreateToken, TokenKind};
use fleetfoot_model::{Label, TokenId};

/// Create, list and revoke tokens
#[derive(Subcommand, Debug)]
pub(crate) enum TokenCommand {
    Create(CreateArgs),
    List(ListArgs),
    Revoke(RevokeArgs),
}

/// Create a token and print it: the only time it is shown
#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("kind").required(true).args(["registration", "admin", "member", "read_only"]),
    after_help = "Examples:\n  fleetfoot token create --registration --output json\n  \
    fleetfoot token create --registration --expires 10m --max-uses 3 --label gpu --queue ml\n  \
    fleetfoot token create --member --name alice --expires 90d"
)]
pub(crate) struct CreateArgs {
    /// Registers runners; expires after an hour unless --expires says otherwise
    #[arg(long)]
    registration: bool,
    /// May do everything
    #[arg(long)]
    admin: bool,
    /// May submit, see and steer runs
    #[arg(long)]
    member: bool,
    /// May see
    #[arg(long)]
    read_only: bool,
    /// What it is for
    #[arg(long, default_value = "")]
    name: String,
    /// Ends after this time: 90s, 10m, 1h, 30d
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    expires: Option<u64>,
    /// Registers at most this many runners
    #[arg(long, value_name = "N", requires = "registration")]
    max_uses: Option<u32>,
    /// Every runner that registers with it gets this label (repeatable)
    #[arg(long, value_name = "LABEL", requires = "registration")]
    label: Vec<String>,
    /// Runners that register with it serve only this queue
    #[arg(long, value_name = "QUEUE", requires = "registration")]
    queue: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// List tokens, without their secrets
#[derive(Args, Debug)]
#[command(
    visible_alias = "ls",
    after_help = "Examples:\n  fleetfoot token list\n  fleetfoot token list --output json"
)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
}

/// Revoke a token; it ends at once
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot token revoke 7")]
pub(crate) struct RevokeArgs {
    /// Its number, as `token list` prints it
    id: TokenId,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(command: TokenCommand, format: Format) -> Result {
    match command {
        TokenCommand::Create(args) => create(args, format).await,
        TokenCommand::List(args) => list(args, format).await,
        TokenCommand::Revoke(args) => {
            args.server.client()?.revoke_token(args.id).await?;
            match format {
                Format::Json => output::json(&serde_json::json!({ "revoked": args.id }))?,
                Format::Text => output::say(&format!("token {} is revoked", args.id)),
            }
            Ok(Exit::Ok)
        }
    }
}

async fn create(args: CreateArgs, format: Format) -> Result {
    let kind = match (args.registration, args.admin, args.member) {
        (true, ..) => TokenKind::Registration,
        (_, true, _) => TokenKind::Admin,
        (_, _, true) => TokenKind::Member,
        _ => TokenKind::ReadOnly,
    };
    let labels: Vec<Label> = args.label.iter().flat_map(|l| l.split(',')).map(Label::from).collect();
    if let Some(bad) = labels.iter().find(|l| !l.is_valid()) {
        return Err(CliError::usage(format!("'{bad}' is not a label"))
            .hint("1 to 256 characters, no control characters"));
    }
    let client = args.server.client()?;
    let created = client
        .create_token(&CreateToken {
            kind,
            name: args.name,
            expires_in_seconds: args.expires,
            max_uses: args.max_uses,
            labels,
            queue: args.queue,
        })
        .await?;
    match format {
        Format::Json => output::json(&created)?,
        Format::Text => {
            output::line(&created.token)?;
            let until =
                created.expires_at.map_or_else(|| "never expires".to_owned(), |t| format!("expires at {t}"));
            output::say(&format!(
                "token {} ({}) {until}; it is not shown again",
                created.id,
                kind_word(kind)
            ));
            if kind == TokenKind::Registration {
                output::say(&format!("  next: `fleetfoot runner up --server {} --token …`", client.server()));
            }
        }
    }
    Ok(Exit::Ok)
}

async fn list(args: ListArgs, format: Format) -> Result {
    let tokens = args.server.client()?.tokens().await?;
    if format == Format::Json {
        output::json(&tokens)?;
        return Ok(Exit::Ok);
    }
    let now = clock::now();
    let rows: Vec<Vec<String>> = tokens
        .items
        .iter()
        .map(|t| {
            vec![
                t.id.to_string(),
                kind_word(t.kind).to_owned(),
                style::printable(&t.name),
                format!("{}…", t.prefix),
                style::ago(t.created_at, now),
                t.last_used_at.map_or_else(|| "never".to_owned(), |at| style::ago(at, now)),
                t.expires_at.map_or_else(|| "never".to_owned(), |at| at.to_string()),
                t.uses_left.map_or_else(String::new, |n| n.to_string()),
            ]
        })
        .collect();
    output::print(&style::table(
        &["ID", "KIND", "NAME", "TOKEN", "CREATED", "USED", "EXPIRES", "USES LEFT"],
        &rows,
    ))?;
    Ok(Exit::Ok)
}

const fn kind_word(kind: TokenKind) -> &'static str {
    match kind {
        TokenKind::Admin => "admin",
        TokenKind::Member => "member",
        TokenKind::ReadOnly => "read-only",
        TokenKind::Registration => "registration",
        TokenKind::Runner => "runner",
        TokenKind::Job => "job",
    }
}

/// `90s`, `10m`, `1h`, `30d`, or seconds.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let bad = || format!("'{text}' is not a time (expected something like 90s, 10m, 1h or 30d)");
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return Err(bad()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(bad)?;
    if seconds == 0 { Err("a time must be longer than nothing".to_owned()) } else { Ok(seconds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        for (text, expected) in [("90s", 90), ("10m", 600), ("1h", 3_600), ("30d", 2_592_000), ("7", 7)] {
            assert_eq!(seconds(text), Ok(expected));
        }
        for text in ["", "h", "1y", "-1h", "0s", "99999999999999999999d"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
