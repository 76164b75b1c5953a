//! The id of a daemon, where it has one that stays.
//!
//! Podman makes a new one for each question, so that one host looks like many to a server that goes by it. So an id that is
//! seen for the first time is asked for once more, and counts only if it is the same then.

use parking_lot::Mutex;

/// What is known of the id of a daemon.
#[derive(Debug, Default)]
pub(super) struct Identity(Mutex<Option<Known>>);

#[derive(Debug)]
struct Known {
    last: String,
    stays: bool,
}

impl Identity {
    /// The id that a daemon has, of which it says `now` that it is that; empty when it has none that stays. `again` asks it once
    /// more, which is done at first and when it has changed.
    pub(super) async fn settle<E>(
        &self,
        now: String,
        again: impl AsyncFnOnce() -> Result<String, E>,
    ) -> Result<String, E> {
        let (is_same, stayed) = match &*self.0.lock() {
            Some(known) => (known.last == now, known.stays),
            None => (false, true),
        };
        let (last, stays) = match (is_same, stayed) {
            (true, _) => (now, true),
            // It has had another each time, and has again.
            (false, false) => (now, false),
            (false, true) => {
                let then = again().await?;
                let stays = then == now;
                (then, stays)
            }
        };
        let id = if stays { last.clone() } else { String::new() };
        *self.0.lock() = Some(Known { last, stays });
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(identity: &Identity, answers: &[&str]) -> (String, usize) {
        let mut asked = 1;
        let id = identity
            .settle(answers[0].to_owned(), async || {
                asked += 1;
                Ok::<_, ()>(answers[1].to_owned())
            })
            .await
            .unwrap();
        (id, asked)
    }

    #[tokio::test]
    async fn an_id_that_stays_counts_and_one_that_is_another_each_time_does_not() {
        let docker = Identity::default();
        assert_eq!(ask(&docker, &["a", "a"]).await, ("a".to_owned(), 2));
        assert_eq!(ask(&docker, &["a"]).await, ("a".to_owned(), 1), "known");
        assert_eq!(
            ask(&docker, &["b", "b"]).await,
            ("b".to_owned(), 2),
            "it was renewed, or another host has the address"
        );
        let podman = Identity::default();
        assert_eq!(ask(&podman, &["1", "2"]).await, (String::new(), 2));
        assert_eq!(ask(&podman, &["3"]).await, (String::new(), 1));
        assert_eq!(ask(&podman, &["3"]).await, ("3".to_owned(), 1), "Docker has the address by now");
    }

    #[tokio::test]
    async fn what_could_not_be_asked_is_asked_the_next_time() {
        let identity = Identity::default();
        assert!(identity.settle("a".to_owned(), async || Err::<String, _>("away")).await.is_err());
        assert_eq!(ask(&identity, &["a", "a"]).await.1, 2);
    }
}
