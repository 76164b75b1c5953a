//! What can be made to go wrong.

/// Something that goes wrong from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Connections are taken, and everything that is said is ignored: a process that was stopped.
    Silent,
    /// Everything is answered in pieces of one byte.
    Pieces,
    /// So many writes more are made, and then the server dies in the middle of a question: every connection breaks, and
    /// what that question had written stays. Then it is well again.
    DieAfterWrites(u32),
    /// Nobody may make databases.
    NoDatabases,
    /// A longer answer stops for so many milliseconds after every 64 KiB.
    Slow(u64),
    /// So many questions more end their connection before anything is done.
    LoseQuestions(u32),
    /// So many questions more are done, and then their connection ends after so many bytes of the answer.
    LoseAnswers {
        /// How many.
        times: u32,
        /// Bytes of the answer that still arrive; header and all.
        after: usize,
    },
}
