//! `user`: create, list, show, change and delete users, set their passwords. A
//! password is read from a file, standard input or a prompt, and never from the
//! arguments, which every user of the machine can see.

use crate::clock;
use crate::commands::scope;
use crate::connect::ServerArgs;
use crate::error::{CliError, Exit, Result};
use crate::output::{self, Format};
use crate::style::{self, printable};
use clap::{Args, Subcommand};
use fleetfoot_client::Client;
use fleetfoot_model::users::{CreateUser, Identity, Role, SetPassword, UpdateUser, UserView};
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::PathBuf;

/// Create, list, change and delete users of the dashboard
#[derive(Subcommand, Debug)]
pub(crate) enum UserCommand {
    Create(CreateArgs),
    List(ListArgs),
    Show(ShowArgs),
    Update(UpdateArgs),
    Password(PasswordArgs),
    Delete(DeleteArgs),
}

/// Create a user; the password comes from a file, standard input or a prompt
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot user create ada --role admin\n  \
    fleetfoot user create grace --role member --display-name 'Grace Hopper' --password-file grace.txt\n  \
    fleetfoot user create edsger --role read-only --identity corp:248289761001")]
pub(crate) struct CreateArgs {
    /// Name: letters, digits, '.', '_', '-' and '@'
    name: String,
    /// What the user may do: admin, member or read-only
    #[arg(long, value_name = "ROLE")]
    role: Role,
    /// Name for people
    #[arg(long, value_name = "NAME", default_value = "")]
    display_name: String,
    /// Take the password from the first line of this file
    #[arg(long, value_name = "FILE", conflicts_with = "no_password")]
    password_file: Option<PathBuf>,
    /// No password: the user signs in through an OpenID provider
    #[arg(long)]
    no_password: bool,
    /// The account at an OpenID provider with which the user signs in
    #[arg(long, value_name = "PROVIDER:SUBJECT", value_parser = identity)]
    identity: Option<Identity>,
    #[command(flatten)]
    server: ServerArgs,
}

/// List users
#[derive(Args, Debug)]
#[command(
    visible_alias = "ls",
    after_help = "Examples:\n  fleetfoot user list\n  fleetfoot user list --output json"
)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
}

/// Show a user
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot user show ada")]
pub(crate) struct ShowArgs {
    /// Name
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// Change a user; it takes effect at once, also in open sessions
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot user update ada --role member\n  \
    fleetfoot user update ada --disable\n  fleetfoot user update ada --identity corp:248289761001")]
pub(crate) struct UpdateArgs {
    /// Name
    name: String,
    /// What the user may do from now on: admin, member or read-only
    #[arg(long, value_name = "ROLE")]
    role: Option<Role>,
    /// Name for people
    #[arg(long, value_name = "NAME")]
    display_name: Option<String>,
    /// The user may not sign in any more; every session ends
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// The user may sign in again
    #[arg(long)]
    enable: bool,
    /// The account at an OpenID provider with which the user signs in
    #[arg(long, value_name = "PROVIDER:SUBJECT", value_parser = identity, conflicts_with = "unlink")]
    identity: Option<Identity>,
    /// Take the account at the OpenID provider away
    #[arg(long)]
    unlink: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Set the password of a user; every session of the user ends
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  fleetfoot user password ada\n  \
    pass show fleetfoot/ada | fleetfoot user password ada")]
pub(crate) struct PasswordArgs {
    /// Name
    name: String,
    /// Take the password from the first line of this file
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Delete a user; every session of the user ends
#[derive(Args, Debug)]
#[command(visible_alias = "rm", after_help = "Examples:\n  fleetfoot user delete ada")]
pub(crate) struct DeleteArgs {
    /// Name
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(command: UserCommand, format: Format) -> Result {
    match command {
        UserCommand::Create(args) => create(args, format).await,
        UserCommand::List(args) => list(args, format).await,
        UserCommand::Show(args) => {
            let user = find(&args.server.client()?, &args.name).await?;
            show(&user, format)
        }
        UserCommand::Update(args) => update(args, format).await,
        UserCommand::Password(args) => {
            let client = args.server.client()?;
            let user = find(&client, &args.name).await?;
            let password = password(&user.name, args.password_file.as_ref())?;
            client.set_password(user.id, &SetPassword { password, current: None }).await?;
            said(&user, "has a new password; every session has ended", format)
        }
        UserCommand::Delete(args) => {
            let client = args.server.client()?;
            let user = find(&client, &args.name).await?;
            client.delete_user(user.id).await?;
            said(&user, "is deleted; every session has ended", format)
        }
    }
}

async fn create(args: CreateArgs, format: Format) -> Result {
    let client = args.server.client()?;
    let without = args.no_password || (args.identity.is_some() && args.password_file.is_none());
    let password = match without {
        true => None,
        false => Some(password(&args.name, args.password_file.as_ref())?),
    };
    let request = CreateUser {
        name: args.name,
        display_name: args.display_name,
        role: args.role,
        password,
        identity: args.identity,
    };
    let user = client.create_user(&request).await?;
    match format {
        Format::Json => output::json(&user)?,
        Format::Text => output::say(&format!(
            "user {} ({}) is created\n  next: sign in at {}",
            user.name,
            word(user.role),
            client.server()
        )),
    }
    Ok(Exit::Ok)
}

async fn list(args: ListArgs, format: Format) -> Result {
    let page = args.server.client()?.users().await?;
    if format == Format::Json {
        output::json(&page)?;
        return Ok(Exit::Ok);
    }
    if page.items.is_empty() {
        output::say("there are no users\n  next: `fleetfoot user create NAME --role admin`");
        return Ok(Exit::Ok);
    }
    let now = clock::now();
    let rows: Vec<Vec<String>> = page
        .items
        .iter()
        .map(|u| {
            vec![
                u.name.clone(),
                printable(&u.display_name),
                word(u.role).to_owned(),
                ways(u),
                u.last_sign_in_at.map_or_else(|| "never".to_owned(), |at| style::ago(at, now)),
            ]
        })
        .collect();
    output::print(&style::table(&["NAME", "DISPLAY NAME", "ROLE", "SIGNS IN WITH", "LAST"], &rows))?;
    Ok(Exit::Ok)
}

async fn update(args: UpdateArgs, format: Format) -> Result {
    let disabled = match (args.disable, args.enable) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    let request = UpdateUser {
        display_name: args.display_name,
        role: args.role,
        disabled,
        identity: args.identity,
        unlink: args.unlink,
    };
    if request == UpdateUser::default() {
        return Err(CliError::usage("nothing is to be changed")
            .hint("name what: --role, --display-name, --disable, --enable, --identity or --unlink"));
    }
    let client = args.server.client()?;
    let user = find(&client, &args.name).await?;
    show(&client.update_user(user.id, &request).await?, format)
}

/// The user of this name. People name users, the API numbers them.
async fn find(client: &Client, name: &str) -> Result<UserView> {
    let page = client.users().await?;
    page.items.into_iter().find(|u| u.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
        CliError::new(Exit::NotFound, format!("there is no user {}", printable(name)))
            .next("fleetfoot user list")
    })
}

fn show(user: &UserView, format: Format) -> Result {
    match format {
        Format::Json => output::json(user)?,
        Format::Text => output::print(&described(user))?,
    }
    Ok(Exit::Ok)
}

fn described(user: &UserView) -> String {
    let mut out = String::new();
    let mut row = |what: &str, value: &str| {
        let _ = writeln!(out, "{what:<14} {value}");
    };
    row("name", &user.name);
    if !user.display_name.is_empty() {
        row("display name", &printable(&user.display_name));
    }
    row("role", word(user.role));
    row("signs in with", &ways(user));
    row("created", &user.created_at.to_string());
    row("last sign-in", &user.last_sign_in_at.map_or_else(|| "never".to_owned(), |at| at.to_string()));
    out
}

fn said(user: &UserView, what: &str, format: Format) -> Result {
    match format {
        Format::Json => output::json(&serde_json::json!({ "user": user.id, "name": user.name }))?,
        Format::Text => output::say(&format!("user {} {what}", user.name)),
    }
    Ok(Exit::Ok)
}

const fn word(role: Role) -> &'static str {
    match role {
        Role::Admin => "admin",
        Role::Member => "member",
        Role::ReadOnly => "read-only",
    }
}

fn ways(user: &UserView) -> String {
    if user.disabled {
        return "nothing: disabled".to_owned();
    }
    let mut ways = Vec::new();
    if user.has_password {
        ways.push("password".to_owned());
    }
    if let Some(identity) = &user.identity {
        ways.push(format!("{}:{}", printable(&identity.provider), printable(&identity.subject)));
    }
    if ways.is_empty() { "nothing yet".to_owned() } else { ways.join(", ") }
}

/// A password from the first line of a file or of standard input, or typed twice at the terminal.
fn password(name: &str, file: Option<&PathBuf>) -> Result<String> {
    let what = format!("password of {}", printable(name));
    let text = scope::value(&what, file, true)?;
    let first = text.lines().next().unwrap_or_default().to_owned();
    if first.is_empty() {
        return Err(CliError::usage("the password is empty")
            .hint("type it, or pass it by --password-file or standard input"));
    }
    if file.is_none() && std::io::stdin().is_terminal() && scope::value("again", None, true)? != first {
        return Err(CliError::usage("the two passwords differ"));
    }
    Ok(first)
}

fn identity(text: &str) -> Result<Identity, String> {
    match text.split_once(':') {
        Some((provider, subject)) if !provider.is_empty() && !subject.is_empty() => {
            Ok(Identity { provider: provider.to_owned(), subject: subject.to_owned() })
        }
        _ => Err(format!("'{text}' is not PROVIDER:SUBJECT")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetfoot_model::{Timestamp, UserId};

    #[test]
    fn a_user_in_words() {
        let user = UserView {
            id: UserId(3),
            name: "ada".to_owned(),
            display_name: "Ada \u{1b}[31mLovelace".to_owned(),
            role: Role::ReadOnly,
            disabled: false,
            has_password: true,
            identity: identity("corp:a:b").ok(),
            created_at: Timestamp(1_760_000_000_000_000),
            last_sign_in_at: None,
        };
        insta::assert_snapshot!(described(&user), @r"
        name           ada
        display name   Ada �[31mLovelace
        role           read-only
        signs in with  password, corp:a:b
        created        2025-10-09T08:53:20.000000Z
        last sign-in   never
        ");
        assert_eq!(ways(&UserView { disabled: true, ..user.clone() }), "nothing: disabled");
        assert_eq!(ways(&UserView { has_password: false, identity: None, ..user }), "nothing yet");
        assert!(identity("corp").is_err() && identity(":x").is_err() && identity("x:").is_err());
    }
}
