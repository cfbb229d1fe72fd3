//! The store's record of provider batches, so that none is submitted twice.

use super::database::Store;
use super::records::CallKey;
use anyhow::Result;
use rusqlite::params;

/// A batch whose answers are not all recorded.
#[derive(Debug, Clone)]
pub(crate) struct OpenBatch {
    pub(crate) number: i64,
    /// The path of the endpoint: `chat/completions` or `completions`.
    pub(crate) path: String,
    /// The provider's id of the uploaded file, if known.
    pub(crate) file: Option<String>,
    /// The provider's id of the batch, if known.
    pub(crate) remote: Option<String>,
    /// Its calls with their steps.
    pub(crate) calls: Vec<(CallKey, String)>,
}

impl Store {
    /// Records a batch before any of it is sent; returns its number.
    pub(crate) fn begin_batch(&self, model: &str, path: &str, calls: &[(CallKey, String)]) -> Result<i64> {
        self.with_connection(|connection| {
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

    /// Records the provider's id of the uploaded file.
    pub(crate) fn batch_uploaded(&self, number: i64, file: &str) -> Result<()> {
        self.update_batch("UPDATE batches SET file = ?2 WHERE number = ?1", number, file)
    }

    /// Records the provider's id of the submitted batch.
    pub(crate) fn batch_submitted(&self, number: i64, remote: &str) -> Result<()> {
        self.update_batch("UPDATE batches SET remote = ?2 WHERE number = ?1", number, remote)
    }

    /// Ends a batch: all its answers are recorded, or it was never sent.
    pub(crate) fn end_batch(&self, number: i64) -> Result<()> {
        self.update_batch("UPDATE batches SET ended = ?2 WHERE number = ?1", number, "1")
    }

    fn update_batch(&self, statement: &str, number: i64, value: &str) -> Result<()> {
        self.with_connection(|connection| connection.execute(statement, params![number, value]))?;
        Ok(())
    }

    /// The number of calls in batches that a provider may have.
    pub(crate) fn calls_in_batches(&self) -> Result<u64> {
        let query = "SELECT count(*) FROM batch_calls JOIN batches ON number = batch WHERE NOT ended AND file NOT NULL";
        self.with_connection(|connection| connection.query_row(query, [], |row| row.get::<_, i64>(0)))
            .map(|calls| calls as u64)
    }

    /// The batches of a model that have not ended.
    pub(crate) fn open_batches(&self, model: &str) -> Result<Vec<OpenBatch>> {
        self.with_connection(|connection| {
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
