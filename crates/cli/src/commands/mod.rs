//! One module a group of commands: arguments, a call, printing. Nothing here
//! decides what the control plane decides.

pub(crate) mod approvals;
pub(crate) mod artifact;
pub(crate) mod backup;
pub(crate) mod cache;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod environment;
pub(crate) mod expr;
pub(crate) mod graph;
pub(crate) mod lint;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod repo;
pub(crate) mod run;
pub(crate) mod runner;
pub(crate) mod runner_boundaries;
pub(crate) mod runner_fleet;
pub(crate) mod scope;
pub(crate) mod secret;
pub(crate) mod server;
pub(crate) mod show;
pub(crate) mod steer;
pub(crate) mod submit;
pub(crate) mod token;
pub(crate) mod user;
pub(crate) mod variable;
pub(crate) mod watch;
