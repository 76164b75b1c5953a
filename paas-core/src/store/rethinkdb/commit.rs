//! Writes that belong together, as one question.
//!
//! RethinkDB has no transactions, but one question may hold several writes. The server looks first whether each of them
//! can be made, then makes the first, and if that worked the others. Between those only a death of the server itself
//! comes. The first write has the version that all of them get, so who asks again afterwards sees how far it came, and
//! makes the rest.

use futures::future::try_join_all;
use serde_json::Value;

use super::asking::Attempts;
use super::terms::{self, refusal};
use super::trouble::{ServerError, Trouble, first_line};
use super::{RethinkDbStore, body, row};
use crate::store::{Action, Document, Result, Store, StoreError, StoreErrorKind, Version, Write};

const OPERATION: &str = "commit";

/// How the server judged a commit.
enum Verdict {
    Done,
    /// It made nothing, because of this write.
    Refused(usize, StoreErrorKind),
    /// It made the first, and not all of the others: somebody wrote in between.
    Half,
}

impl RethinkDbStore {
    pub(super) async fn commit_at_once(&self, writes: &[Write]) -> Result<Version> {
        let version = body::fresh_version();
        let Some((first, others)) = writes.split_first() else { return Ok(version) };
        if others.is_empty() {
            return self.make(OPERATION, first, version).await;
        }
        let failed = |trouble: Trouble| trouble.into_store_error(OPERATION, first.table, &first.key);
        let query = self.shared.queries.commit(&self.prepared(writes, version)?);
        for write in writes {
            self.ensure_table(write.table).await.map_err(failed)?;
        }
        let mut attempts = Attempts::new(&self.shared.pool);
        let mut in_doubt = false;
        loop {
            let trouble = match self.ask_once(&query, &self.fence, &attempts).await {
                Ok(answer) => match verdict(&answer, writes).map_err(failed)? {
                    Verdict::Done => return Ok(version),
                    Verdict::Refused(at, kind) if !in_doubt => return Err(writes[at].error(OPERATION, kind)),
                    Verdict::Refused(..) | Verdict::Half => return self.settle(writes, version).await,
                },
                Err(trouble) => trouble,
            };
            in_doubt |= trouble.leaves_doubt();
            match trouble {
                Trouble::Server(ServerError::NoSuchTable, said) => return Err(failed(Trouble::Dropped(said))),
                trouble if trouble.passes() => attempts.pause(trouble).await.map_err(failed)?,
                trouble => return Err(failed(trouble)),
            }
        }
    }

    /// Each write with the row that it puts, if it does.
    fn prepared<'a>(&self, writes: &'a [Write], version: Version) -> Result<Vec<(&'a Write, Option<Value>)>> {
        let prepare = |write: &'a Write| {
            Ok((
                write,
                match &write.action {
                    Action::Insert(body) | Action::Replace(_, body) => {
                        Some(row(OPERATION, write.table, &write.key, version, body)?)
                    }
                    Action::Delete(_) | Action::Clear => None,
                },
            ))
        };
        writes.iter().map(prepare).collect()
    }

    /// After a break it is seen from the documents how far an earlier attempt came. What was begun is brought to its end.
    async fn settle(&self, writes: &[Write], version: Version) -> Result<Version> {
        let found = try_join_all(writes.iter().map(|write| self.get(write.table, &write.key))).await?;
        let left: Vec<&Write> = writes
            .iter()
            .zip(&found)
            .filter(|(write, found)| !is_made(write, found.as_ref(), version))
            .map(|(w, _)| w)
            .collect();
        let Some(first) = writes.first() else { return Ok(version) };
        if left.iter().any(|write| std::ptr::eq(*write, first)) {
            return Err(unknown(first));
        }
        for write in left {
            // Nothing to delete is what was to be.
            let make = self.make(OPERATION, write, version).await;
            match make {
                Err(error) if error.kind() == StoreErrorKind::NotFound && matches!(write.action, Action::Delete(_)) => {
                }
                outcome => drop(outcome?),
            }
        }
        Ok(version)
    }
}

/// Whether a write was made, as far as its document says.
fn is_made(write: &Write, found: Option<&Document>, version: Version) -> bool {
    match write.action {
        Action::Insert(_) | Action::Replace(..) => found.is_some_and(|found| found.version == version),
        Action::Delete(_) | Action::Clear => found.is_none(),
    }
}

pub(super) fn unknown(write: &Write) -> StoreError {
    write
        .error(OPERATION, StoreErrorKind::Unavailable)
        .with_detail("the connection broke, and whether it was written before that is not known")
}

fn verdict(answer: &[Value], writes: &[Write]) -> Result<Verdict, Trouble> {
    let unclear = || Trouble::Nonsense("its report of a commit cannot be read".to_owned());
    let answer = answer.first().ok_or_else(unclear)?;
    if let Some(checks) = answer[terms::REFUSED].as_array() {
        let refused = checks.iter().position(|check| !check.is_null()).ok_or_else(unclear)?;
        let kind = checks[refused].as_str().and_then(refusal).ok_or_else(unclear)?;
        return Ok(Verdict::Refused(refused, kind));
    }
    let reports = answer.as_array().filter(|reports| !reports.is_empty()).ok_or_else(unclear)?;
    let problem = |report: &Value| report["errors"] != 0;
    if problem(&reports[0]) {
        let said = reports[0]["first_error"].as_str().unwrap_or_default();
        let kind = refusal(said).ok_or_else(|| Trouble::Nonsense(first_line(said)))?;
        return Ok(Verdict::Refused(0, kind));
    }
    if matches!(writes[0].action, Action::Delete(None)) && reports[0]["deleted"] != 1 {
        return Ok(Verdict::Refused(0, StoreErrorKind::NotFound));
    }
    Ok(if reports.iter().any(problem) { Verdict::Half } else { Verdict::Done })
}
