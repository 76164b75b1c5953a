//! What a query does.

use std::collections::HashMap;
use std::ops::Bound;

use serde_json::{Value, json};

use super::compile::Term;
use super::data::{Data, check_key, shuffle};
use super::datum::{number, print, type_name};
use super::failure::Failure;
use super::write;
use crate::store::rethinkdb::protocol::term;

/// What a query comes to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// One value.
    Atom(Value),
    /// Rows, one after the other.
    Rows(Vec<Value>),
}

/// A table by its names.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) database: String,
    pub(super) table: String,
}

/// Rows of a table.
#[derive(Debug)]
struct Selection {
    place: Place,
    bounds: (Bound<String>, Bound<String>),
    /// `Some(true)` is descending.
    order: Option<bool>,
    limit: usize,
}

/// What a term comes to.
enum Made {
    Datum(Value),
    Database(String),
    Row(Place, String),
    Rows(Selection),
    Least,
    Greatest,
    Descending(String),
}

/// What a query runs in.
pub(super) struct Scope<'a> {
    pub(super) data: &'a mut Data,
    /// The database of a table that names none.
    pub(super) database: String,
    /// Whether replicas are available.
    pub(super) is_ready: bool,
    /// The arguments of the functions that run, by their numbers.
    pub(super) variables: HashMap<u64, Value>,
    /// How many writes may still be made before the server dies.
    pub(super) writes_left: Option<u32>,
    /// Whether this user may make databases.
    pub(super) may_make_databases: bool,
}

type Result<T, E = Failure> = std::result::Result<T, E>;

impl Scope<'_> {
    /// Runs a query that was found to be one.
    pub(super) fn run(&mut self, query: &Value) -> Result<Outcome> {
        Ok(match self.make(query)? {
            Made::Rows(selection) => Outcome::Rows(self.rows(&selection)?),
            other => Outcome::Atom(self.datum(other)?),
        })
    }

    /// A value by its term.
    pub(super) fn value(&mut self, term: &Value) -> Result<Value> {
        let made = self.make(term)?;
        self.datum(made)
    }

    fn argument(&mut self, term: &Term<'_>, place: usize) -> Result<Value> {
        self.value(&term.arguments[place]).map_err(|failure| failure.within(place))
    }

    fn text(&mut self, term: &Term<'_>, place: usize) -> Result<String> {
        match self.argument(term, place)? {
            Value::String(text) => Ok(text),
            other => Err(expected("STRING", &other).within(place)),
        }
    }

    fn make(&mut self, value: &Value) -> Result<Made> {
        let Some(term) = Term::read(value)? else { return self.plain(value).map(Made::Datum) };
        Ok(match term.kind {
            term::MAKE_ARRAY => {
                let elements = (0..term.arguments.len()).map(|place| self.argument(&term, place));
                Made::Datum(Value::Array(elements.collect::<Result<_>>()?))
            }
            term::VAR => {
                let wanted = term.arguments[0].as_u64().and_then(|number| self.variables.get(&number));
                Made::Datum(wanted.cloned().ok_or_else(|| Failure::compile("Variable name not found."))?)
            }
            term::ERROR => return Err(Failure::user(self.text(&term, 0)?)),
            term::DB => {
                let name = self.text(&term, 0)?;
                if !self.data.has_database(&name) {
                    return Err(Failure::operation(format!("Database `{name}` does not exist.")));
                }
                Made::Database(name)
            }
            term::TABLE => {
                let place = self.table_name(&term)?;
                self.data.table(&place.database, &place.table)?;
                let bounds = (Bound::Unbounded, Bound::Unbounded);
                Made::Rows(Selection { place, bounds, order: None, limit: usize::MAX })
            }
            term::GET => {
                let place = self.table(&term)?;
                let key = self.text(&term, 1)?;
                check_key(&key).map_err(Failure::logic)?;
                Made::Row(place, key)
            }
            term::EQ | term::NE => {
                let first = self.argument(&term, 0)?;
                let mut same = true;
                for place in 1..term.arguments.len() {
                    same &= self.argument(&term, place)? == first;
                }
                Made::Datum(Value::Bool(same == (term.kind == term::EQ)))
            }
            term::BRANCH => return self.branch(&term),
            term::FUNCALL => {
                let argument = self.argument(&term, 1)?;
                Made::Datum(self.call(&term.arguments[0], argument)?)
            }
            term::BRACKET => {
                let (object, name) = (self.argument(&term, 0)?, self.text(&term, 1)?);
                let Value::Object(fields) = &object else {
                    let message = format!("Cannot perform bracket on a non-object non-sequence `{}`.", print(&object));
                    return Err(Failure::logic(message));
                };
                let missing = || Failure::logic(format!("No attribute `{name}` in object:\n{}", print(&object)));
                Made::Datum(fields.get(&name).cloned().ok_or_else(missing)?)
            }
            term::COUNT => {
                let selection = self.selection(&term)?;
                Made::Datum(self.rows(&selection)?.len().into())
            }
            term::BETWEEN => Made::Rows(self.between(&term)?),
            term::ORDER_BY => Made::Rows(self.order_by(&term)?),
            term::LIMIT => {
                let mut selection = self.selection(&term)?;
                let limit = self.argument(&term, 1)?;
                let limit = limit.as_u64().ok_or_else(|| expected("NUMBER", &limit).within(1))?;
                selection.limit = selection.limit.min(usize::try_from(limit).unwrap_or(usize::MAX));
                Made::Rows(selection)
            }
            term::DESC => Made::Descending(self.text(&term, 0)?),
            term::MINVAL => Made::Least,
            term::MAXVAL => Made::Greatest,
            term::DB_LIST => Made::Datum(json!(self.data.database_names())),
            term::DB_CREATE => {
                let name = self.text(&term, 0)?;
                if !self.may_make_databases {
                    return Err(Failure::permission("User `paas` does not have the required `config` permission(s)."));
                }
                Made::Datum(self.data.make_database(&name)?)
            }
            term::DB_DROP => {
                let name = self.text(&term, 0)?;
                Made::Datum(self.data.drop_database(&name)?)
            }
            term::TABLE_CREATE => {
                let place = self.table_name(&term)?;
                Made::Datum(self.data.make_table(&place.database, &place.table)?)
            }
            term::WAIT => {
                self.table(&term)?;
                if !self.is_ready {
                    return Err(Failure::operation("Timed out while waiting for tables."));
                }
                Made::Datum(json!({ "ready": 1 }))
            }
            term::INSERT => {
                let (place, new) = (self.table(&term)?, self.argument(&term, 1)?);
                Made::Datum(write::insert(self, &place, new, &term)?)
            }
            term::REPLACE => {
                let (place, key) = self.row(&term)?;
                Made::Datum(write::replace(self, &place, &key, &term)?)
            }
            term::DELETE => {
                let (place, key) = self.row(&term)?;
                Made::Datum(write::delete(self, &place, &key, &term)?)
            }
            other => return Err(Failure::compile(format!("TermType {other} cannot stand here."))),
        })
    }

    /// What a function of one argument gives.
    pub(super) fn call(&mut self, function: &Value, argument: Value) -> Result<Value> {
        let wrong = || Failure::logic("Expected function with 1 argument.");
        let function = Term::read(function)?.filter(|function| function.kind == term::FUNC).ok_or_else(wrong)?;
        let parameters = Term::read(&function.arguments[0])?.map(|list| list.arguments).unwrap_or_default();
        let [Value::Number(parameter)] = parameters else { return Err(wrong()) };
        let parameter = parameter.as_u64().unwrap_or_default();
        let outer = self.variables.insert(parameter, argument);
        let result = self.value(&function.arguments[1]);
        match outer {
            Some(outer) => drop(self.variables.insert(parameter, outer)),
            None => drop(self.variables.remove(&parameter)),
        }
        result
    }

    /// Notes that something is about to be written. A server that dies now wrote what came before.
    pub(super) fn begin_write(&mut self) -> Result<()> {
        match &mut self.writes_left {
            Some(0) => Err(Failure::death()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// A plain value, as it is kept.
    fn plain(&mut self, value: &Value) -> Result<Value> {
        match value {
            Value::Number(found) => Ok(number(found)),
            Value::Object(fields) => {
                if fields.keys().any(|name| name.contains('\0')) {
                    return Err(Failure::logic("A key contains a NULL byte."));
                }
                if fields.contains_key("$reql_type$") {
                    return Err(Failure::logic(format!("Unknown $reql_type$ {}.", fields["$reql_type$"])));
                }
                let field = |(name, value): (&String, &Value)| {
                    let value = self.value(value).map_err(|failure| failure.within(name.as_str()))?;
                    Ok((name.clone(), value))
                };
                fields.iter().map(field).collect::<Result<_>>().map(Value::Object)
            }
            other => Ok(other.clone()),
        }
    }

    fn datum(&mut self, made: Made) -> Result<Value> {
        match made {
            Made::Datum(value) => Ok(value),
            Made::Row(place, key) => {
                self.check_ready("read")?;
                let table = self.data.table(&place.database, &place.table)?;
                Ok(table.rows.get(&key).cloned().unwrap_or(Value::Null))
            }
            Made::Rows(selection) => self.rows(&selection).map(Value::Array),
            Made::Database(_) => Err(Failure::logic("Expected type DATUM but found DATABASE.")),
            Made::Least | Made::Greatest => Err(Failure::logic("Cannot use r.minval or r.maxval here.")),
            Made::Descending(_) => Err(Failure::logic("Cannot use r.desc here.")),
        }
    }

    pub(super) fn check_ready(&self, what: &str) -> Result<()> {
        if self.is_ready {
            return Ok(());
        }
        Err(Failure::operation(format!("Cannot perform {what}: primary replica for shard [\"\", +inf) not available")))
    }

    fn rows(&mut self, selection: &Selection) -> Result<Vec<Value>> {
        self.check_ready("read")?;
        let table = self.data.table(&selection.place.database, &selection.place.table)?;
        let mut rows = table.ordered(&selection.bounds);
        match selection.order {
            Some(true) => rows.reverse(),
            Some(false) => {}
            None => shuffle(&mut rows),
        }
        rows.truncate(selection.limit);
        Ok(rows)
    }

    /// The names of a table that need not be there.
    fn table_name(&mut self, term: &Term<'_>) -> Result<Place> {
        let (database, at) = match term.arguments {
            [first, _] => match self.make(first).map_err(|failure| failure.within(0))? {
                Made::Database(name) => (name, 1),
                _ => return Err(Failure::logic("Expected type DATABASE but found DATUM.").within(0)),
            },
            _ => (self.database.clone(), 0),
        };
        Ok(Place { database, table: self.text(term, at)? })
    }

    fn selection(&mut self, term: &Term<'_>) -> Result<Selection> {
        match self.make(&term.arguments[0]).map_err(|failure| failure.within(0))? {
            Made::Rows(selection) => Ok(selection),
            _ => Err(Failure::logic("Expected type SELECTION but found DATUM.").within(0)),
        }
    }

    fn table(&mut self, term: &Term<'_>) -> Result<Place> {
        // WAIT writes its tables as the others do: as the first argument.
        let selection = self.selection(term)?;
        let is_whole = matches!(selection.bounds, (Bound::Unbounded, Bound::Unbounded)) && selection.order.is_none();
        if is_whole && selection.limit == usize::MAX {
            return Ok(selection.place);
        }
        Err(Failure::logic("Expected type TABLE but found TABLE_SLICE.").within(0))
    }

    fn row(&mut self, term: &Term<'_>) -> Result<(Place, String)> {
        match self.make(&term.arguments[0]).map_err(|failure| failure.within(0))? {
            Made::Row(place, key) => Ok((place, key)),
            _ => Err(Failure::logic("Expected type SINGLE_SELECTION but found DATUM.").within(0)),
        }
    }

    fn branch(&mut self, term: &Term<'_>) -> Result<Made> {
        if term.arguments.len().is_multiple_of(2) {
            return Err(Failure::compile("Cannot call `branch` term with an even number of arguments."));
        }
        let last = term.arguments.len() - 1;
        for place in (0..last).step_by(2) {
            let test = self.argument(term, place)?;
            if !matches!(test, Value::Null | Value::Bool(false)) {
                return self.make(&term.arguments[place + 1]).map_err(|failure| failure.within(place + 1));
            }
        }
        self.make(&term.arguments[last]).map_err(|failure| failure.within(last))
    }

    fn between(&mut self, term: &Term<'_>) -> Result<Selection> {
        let place = self.table(term)?;
        let is_closed = |name: &str, default: &str| match term.option(name).map_or(Some(default), Value::as_str) {
            Some("closed") => Ok(true),
            Some("open") => Ok(false),
            _ => Err(Failure::logic(format!("Expected `open` or `closed` for optarg `{name}`."))),
        };
        let (left, right) = (is_closed("left_bound", "closed")?, is_closed("right_bound", "open")?);
        let mut bound = |at: usize, is_closed: bool| match self.make(&term.arguments[at]).map_err(|f| f.within(at))? {
            Made::Least if at == 1 => Ok(Bound::Unbounded),
            Made::Greatest if at == 2 => Ok(Bound::Unbounded),
            Made::Datum(Value::String(key)) => {
                check_key(&key).map_err(Failure::logic)?;
                Ok(if is_closed { Bound::Included(key) } else { Bound::Excluded(key) })
            }
            _ => Err(Failure::logic("Only strings, r.minval and r.maxval are bounds here.").within(at)),
        };
        let bounds = (bound(1, left)?, bound(2, right)?);
        Ok(Selection { place, bounds, order: None, limit: usize::MAX })
    }

    fn order_by(&mut self, term: &Term<'_>) -> Result<Selection> {
        let mut selection = self.selection(term)?;
        let index = term.option("index").ok_or_else(|| Failure::logic("Must specify something to order by."))?;
        let (name, descending) = match self.make(index).map_err(|failure| failure.within("index"))? {
            Made::Datum(Value::String(name)) => (name, false),
            Made::Descending(name) => (name, true),
            _ => return Err(Failure::logic("Expected type STRING but found OBJECT.").within("index")),
        };
        if name != "id" {
            let Place { database, table } = &selection.place;
            return Err(Failure::operation(format!("Index `{name}` was not found on table `{database}.{table}`.")));
        }
        selection.order = Some(descending);
        Ok(selection)
    }
}

fn expected(wanted: &str, found: &Value) -> Failure {
    Failure::logic(format!("Expected type {wanted} but found {}.", type_name(found)))
}
