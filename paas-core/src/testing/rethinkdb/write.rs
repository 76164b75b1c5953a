//! Queries that write.
//!
//! What keeps a single row from being written is no failure of the query: the report counts it, with the first such text.

use serde_json::Value;
use uuid::Uuid;

use super::compile::Term;
use super::data::{Report, check_row};
use super::datum::print;
use super::evaluate::{Place, Scope};
use super::failure::Failure;
use crate::store::rethinkdb::protocol::term;

type Result<T, E = Failure> = std::result::Result<T, E>;

/// Adds one row, or an array of rows.
pub(super) fn insert(scope: &mut Scope<'_>, place: &Place, new: Value, term: &Term<'_>) -> Result<Value> {
    let with_changes = options(scope, term)?;
    if term.option("conflict").is_some_and(|conflict| conflict != "error") {
        return Err(Failure::logic("Conflict option `error` is the only one that this double knows."));
    }
    scope.check_ready("write")?;
    scope.begin_write()?;
    let table = scope.data.table(&place.database, &place.table)?;
    let rows = match new {
        Value::Array(rows) => rows,
        row => vec![row],
    };
    let mut report = Report::default();
    let mut generated = Vec::new();
    for mut row in rows {
        if let Value::Object(fields) = &mut row
            && !fields.contains_key("id")
        {
            let key = Uuid::new_v4().to_string();
            fields.insert("id".to_owned(), key.clone().into());
            generated.push(Value::from(key));
        }
        match table.insert(row.clone()) {
            Ok(_) => {
                report.inserted += 1;
                report.changes.push((None, Some(row)));
            }
            Err(error) => report.refuse(error),
        }
    }
    let mut report = report.into_value(with_changes);
    if !generated.is_empty() {
        report["generated_keys"] = generated.into();
    }
    Ok(report)
}

/// Puts what a function makes of a row, or a value, in the place of the row.
pub(super) fn replace(scope: &mut Scope<'_>, place: &Place, key: &str, term: &Term<'_>) -> Result<Value> {
    let with_changes = options(scope, term)?;
    scope.check_ready("write")?;
    scope.begin_write()?;
    let old = scope.data.table(&place.database, &place.table)?.rows.get(key).cloned();
    let mut report = Report::default();
    match replacement(scope, key, old.as_ref(), &term.arguments[1]) {
        Ok(new) => {
            match (&old, &new) {
                (None, None) => report.skipped += 1,
                (None, Some(_)) => report.inserted += 1,
                (Some(_), None) => report.deleted += 1,
                (Some(old), Some(new)) if old == new => report.unchanged += 1,
                (Some(_), Some(_)) => report.replaced += 1,
            }
            if old != new {
                report.changes.push((old, new.clone()));
            }
            scope.data.table(&place.database, &place.table)?.set(key, new);
        }
        Err(error) => report.refuse(error.message),
    }
    Ok(report.into_value(with_changes))
}

/// The row that comes in the place of another; nothing to delete it.
fn replacement(scope: &mut Scope<'_>, key: &str, old: Option<&Value>, with: &Value) -> Result<Option<Value>> {
    let new = match Term::read(with)? {
        Some(function) if function.kind == term::FUNC => scope.call(with, old.cloned().unwrap_or(Value::Null))?,
        _ => scope.value(with)?,
    };
    if new.is_null() {
        return Ok(None);
    }
    let new_key = check_row(&new).map_err(Failure::logic)?;
    if new_key != key {
        let message = format!("Primary key `id` cannot be changed (`{}` -> `{}`).", key, print(&new));
        return Err(Failure::logic(message));
    }
    Ok(Some(new))
}

/// Removes one row.
pub(super) fn delete(scope: &mut Scope<'_>, place: &Place, key: &str, term: &Term<'_>) -> Result<Value> {
    let with_changes = options(scope, term)?;
    scope.check_ready("write")?;
    scope.begin_write()?;
    let table = scope.data.table(&place.database, &place.table)?;
    let mut report = Report::default();
    match table.rows.get(key).cloned() {
        Some(old) => {
            table.set(key, None);
            report.deleted += 1;
            report.changes.push((Some(old), None));
        }
        None => report.skipped += 1,
    }
    Ok(report.into_value(with_changes))
}

/// Whether the rows before and after are asked for. Refuses options that make no sense.
fn options(scope: &mut Scope<'_>, term: &Term<'_>) -> Result<bool> {
    if let Some(durability) = term.option("durability")
        && !matches!(scope.value(durability)?.as_str(), Some("hard" | "soft"))
    {
        return Err(Failure::logic("Durability option must be `hard` or `soft`.").within("durability"));
    }
    match term.option("return_changes").map(|value| scope.value(value)).transpose()? {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(flag),
        Some(_) => Err(Failure::logic("Invalid value for `return_changes`.").within("return_changes")),
    }
}
