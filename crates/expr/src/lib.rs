//! The GitHub Actions expression language: parse an expression once, evaluate
//! it many times against values that the caller hands in.
//!
//! The crate is pure. It reads no clock, network, disk or environment;
//! contexts (`github`, `needs`, …) and host functions (`success`,
//! `hashFiles`, …) come in through [`Scope`]. No input makes it panic or
//! recurse without bound: length, depth and memory are limited as at GitHub.
//!
//! ```
//! use fleetfoot_expr::{Expr, MapScope, Object, Value};
//!
//! let expr = Expr::parse("github.ref == 'refs/heads/main' && 'deploy' || 'skip'")?;
//! let github: Object = [("ref", Value::from("refs/heads/MAIN"))].into_iter().collect();
//! let scope = MapScope::new().with("github", github);
//! assert_eq!(expr.evaluate(&scope)?.to_display_string(), "deploy");
//! # Ok::<(), fleetfoot_expr::ExprError>(())
//! ```

mod ast;
mod coerce;
mod condition;
mod error;
mod eval;
mod expr;
mod functions;
mod json;
mod lexer;
mod object;
mod parser;
mod scope;
mod template;
mod text;
mod value;

pub use condition::{condition, condition_is_always_true_trap};
pub use error::{ErrorKind, ExprError};
pub use expr::Expr;
pub use functions::{BUILTIN_FUNCTIONS, FunctionSignature, STATUS_FUNCTIONS};
pub use object::Object;
pub use scope::{MapScope, Scope, Status};
pub use template::Template;
pub use value::{Kind, Value};

/// The longest expression that is accepted, in UTF-16 code units as GitHub
/// counts them. A string with several `${{ }}` parts counts as the one
/// `format(...)` expression that it stands for.
pub const MAX_LENGTH: usize = 21_000;

/// The deepest nesting that is accepted.
pub const MAX_DEPTH: usize = 50;

/// What one evaluation may hold in memory at a time, in bytes as GitHub
/// estimates them (two bytes a character).
pub const MAX_MEMORY: usize = 10 * 1024 * 1024;
