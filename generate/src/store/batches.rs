//! What the store remembers of provider batches, so that none is submitted twice.

use super::{Key, Store};
use anyhow::Result;
use rusqlite::params;

/// A batch whose answers are not recorded yet.
#[derive(Debug, Clone)]
pub(crate) struct OpenBatch {
    pub(crate) number: i64,
    /// The endpoint's path: `chat/completions` or `completions`.
    pub(crate) path: String,
    /// The provider's id of the uploaded file, once it is known.
    pub(crate) file: Option<String>,
    /// The provider's id of the batch, once it is known.
    pub(crate) remote: Option<String>,
    /// The calls in it, with their steps.
    pub(crate) calls: Vec<(Key, String)>,
}

impl Store {
    /// Announces a batch before anything of it is sent.
    pub(crate) fn begin_batch(&self, model: &str, path: &str, calls: &[(Key, String)]) -> Result<i64> {
        self.read(|connection| {
            let transaction = connection.unchecked_transaction()?;
            transaction.execute("INSERT INTO batches (model, path) VALUES (?1, ?2)", params![model, path])?;
            let number = transaction.last_insert_rowid();
            for (key, step) in calls {
                transaction
                    .prepare_cached("INSERT OR IGNORE INTO batch_calls VALUES (?1, ?2, ?3)")?
                    .execute(params![number, key, step])?;
            }
            transaction.commit()?;
            Ok(number)
        })
    }

    /// Remembers the uploaded file.
    pub(crate) fn batch_uploaded(&self, number: i64, file: &str) -> Result<()> {
        self.update_batch("UPDATE batches SET file = ?2 WHERE number = ?1", number, file)
    }

    /// Remembers the submitted batch.
    pub(crate) fn batch_submitted(&self, number: i64, remote: &str) -> Result<()> {
        self.update_batch("UPDATE batches SET remote = ?2 WHERE number = ?1", number, remote)
    }

    /// All its answers are recorded, or it never went out.
    pub(crate) fn end_batch(&self, number: i64) -> Result<()> {
        self.update_batch("UPDATE batches SET ended = ?2 WHERE number = ?1", number, "1")
    }

    fn update_batch(&self, statement: &str, number: i64, value: &str) -> Result<()> {
        self.read(|connection| connection.execute(statement, params![number, value]))?;
        Ok(())
    }

    /// Calls of batches that may be at a provider.
    pub(crate) fn calls_in_batches(&self) -> Result<u64> {
        let text = "SELECT count(*) FROM batch_calls JOIN batches ON number = batch WHERE NOT ended AND file NOT NULL";
        self.read(|connection| connection.query_row(text, [], |row| row.get::<_, i64>(0)))
            .map(|calls| calls as u64)
    }

    /// The batches of a model that have not ended.
    pub(crate) fn open_batches(&self, model: &str) -> Result<Vec<OpenBatch>> {
        self.read(|connection| {
            let mut batches: Vec<OpenBatch> = connection
                .prepare("SELECT number, path, file, remote FROM batches WHERE model = ?1 AND NOT ended ORDER BY number")?
                .query_map([model], |row| {
                    let (number, path) = (row.get(0)?, row.get(1)?);
                    Ok(OpenBatch { number, path, file: row.get(2)?, remote: row.get(3)?, calls: Vec::new() })
                })?
                .collect::<rusqlite::Result<_>>()?;
            let mut calls = connection.prepare("SELECT key, step FROM batch_calls WHERE batch = ?1")?;
            for batch in &mut batches {
                let read = calls.query_map([batch.number], |row| Ok((row.get(0)?, row.get(1)?)))?;
                batch.calls = read.collect::<rusqlite::Result<_>>()?;
            }
            Ok(batches)
        })
    }
}
