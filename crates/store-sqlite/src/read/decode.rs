//! From columns to the types of the model. A value that does not decode is
//! damaged data and ends in an error, never in a default.

use fleetfoot_model::time::Timestamp;
use rusqlite::types::{FromSql, Type, ValueRef};
use rusqlite::{Error, Result, Row};
use serde::de::DeserializeOwned;
use std::str::FromStr;

fn failed(column: usize, ty: Type, e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::FromSqlConversionFailure(column, ty, e.into())
}

/// A column of a type that SQLite knows.
pub(crate) fn get<T: FromSql>(row: &Row<'_>, column: usize) -> Result<T> {
    row.get(column)
}

/// A number that is never negative.
pub(crate) fn number(row: &Row<'_>, column: usize) -> Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

/// The same, if present.
pub(crate) fn maybe_number(row: &Row<'_>, column: usize) -> Result<Option<u64>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(i64::cast_unsigned))
}

/// A time.
pub(crate) fn time(row: &Row<'_>, column: usize) -> Result<Timestamp> {
    row.get(column).map(Timestamp)
}

/// A time, if present.
pub(crate) fn maybe_time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp))
}

/// One of the words of an enum.
pub(crate) fn word<T: FromStr<Err = String>>(row: &Row<'_>, column: usize) -> Result<T> {
    maybe_word(row, column)?.ok_or_else(|| failed(column, Type::Null, "a word is missing"))
}

/// One of the words of an enum, if present.
pub(crate) fn maybe_word<T: FromStr<Err = String>>(row: &Row<'_>, column: usize) -> Result<Option<T>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        value => {
            let text = value.as_str().map_err(|e| failed(column, Type::Text, e))?;
            text.parse().map(Some).map_err(|e| failed(column, Type::Text, e))
        }
    }
}

/// JSON, if present.
pub(crate) fn maybe_json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<Option<T>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        value => {
            let text = value.as_str().map_err(|e| failed(column, Type::Text, e))?;
            serde_json::from_str(text).map(Some).map_err(|e| failed(column, Type::Text, e))
        }
    }
}

/// JSON; NULL stands for the empty value.
pub(crate) fn json_or_empty<T: DeserializeOwned + Default>(row: &Row<'_>, column: usize) -> Result<T> {
    Ok(maybe_json(row, column)?.unwrap_or_default())
}

/// JSON that is always there.
pub(crate) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T> {
    maybe_json(row, column)?.ok_or_else(|| failed(column, Type::Null, "JSON is missing"))
}
