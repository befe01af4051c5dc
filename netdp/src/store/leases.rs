//! What DHCP servers have lent, by the attachment that it is for.
//!
//! A lease stands here before its server is told that it is taken and until it is given back: of an attachment that was never
//! finished, or that is no more, its row is left, and whoever finds it gives the address back.

use std::collections::HashMap;

use rusqlite::{Row, params};

use super::rows::{Json, json};
use super::{Change, Error, Store};
use crate::model::{Attachment, Lease};
use crate::names::Id;

/// Apart, because a database that an earlier version made has no such table. Without a reference to the attachment, which comes
/// later and goes earlier. `gone` says that the attachment is no more.
const LEASES: &str = "
CREATE TABLE IF NOT EXISTS leases (
    attachment TEXT PRIMARY KEY,
    lease TEXT NOT NULL,
    gone INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
";

/// Whether there is the table.
const THERE: &str = "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'leases'";

/// Leases by attachment.
pub(super) type Leases = HashMap<String, Lease>;

impl Store {
    /// All leases.
    pub(super) fn leases(&self) -> Result<Leases, Error> {
        let rows = self.lease_rows("SELECT attachment, lease FROM leases")?;
        Ok(rows.into_iter().map(|(id, lease)| (id.to_string(), lease)).collect())
    }

    /// The same, whoever has them.
    pub fn all_leases(&self) -> Result<Vec<Lease>, Error> {
        Ok(self.leases()?.into_values().collect())
    }

    /// Leases of nobody: their attachment is no more, or was not finished by `before`, in seconds since 1970.
    pub fn stray_leases(&self, before: u64) -> Result<Vec<(Id, Lease)>, Error> {
        let sql = "SELECT attachment, lease FROM leases WHERE attachment NOT IN (SELECT id FROM attachments) \
                   AND gone = 1";
        let unfinished = "SELECT attachment, lease FROM leases \
                          WHERE attachment NOT IN (SELECT id FROM attachments) AND gone = 0";
        let mut strays = self.lease_rows(sql)?;
        strays.extend(self.lease_rows(unfinished)?.into_iter().filter(|(_, lease)| lease.since < before));
        Ok(strays)
    }

    /// Whether the MAC of a stray lease has another one that is somebody's: of an attachment, or of one that somebody is about
    /// to finish. Another stray does not count.
    pub fn is_lent_beside(&self, attachment: &Id, stray: &Lease, before: u64) -> Result<bool, Error> {
        let strays = self.stray_leases(before)?;
        let is_stray = |id: &Id| id == attachment || strays.iter().any(|(stray, _)| stray == id);
        let rows = self.lease_rows("SELECT attachment, lease FROM leases")?;
        Ok(rows.iter().any(|(id, lease)| {
            !is_stray(id) && (lease.parent.as_str(), lease.mac) == (stray.parent.as_str(), stray.mac)
        }))
    }

    fn lease_rows(&self, sql: &str) -> Result<Vec<(Id, Lease)>, Error> {
        if self.rows(THERE, [], |row| row.get::<_, String>(0))?.is_empty() {
            return Ok(Vec::new());
        }
        let read = |row: &Row<'_>| Ok((Id::stored(row.get(0)?), row.get::<_, Json<_>>(1)?.0));
        self.rows(sql, [], read)
    }
}

impl Change<'_> {
    /// Keeps what is lent for an attachment, which need not be there yet.
    pub fn keep_lease(&self, attachment: &Id, lease: &Lease) -> Result<(), Error> {
        self.execute(LEASES, [])?;
        self.execute(
            "INSERT OR REPLACE INTO leases (attachment, lease) VALUES (?1, ?2)",
            params![attachment.as_str(), json(lease)?],
        )
    }

    /// Gives an attachment another lease, with its address, or none.
    pub fn set_lease(&self, attachment: &Attachment) -> Result<(), Error> {
        let address = attachment.addr4.map(|address| address.to_string());
        let sql = "UPDATE attachments SET addr4 = ?2 WHERE id = ?1";
        self.execute(sql, params![attachment.id.as_str(), address])?;
        match &attachment.lease {
            Some(lease) => self.keep_lease(&attachment.id, lease),
            None => self.forget_lease(&attachment.id),
        }
    }

    /// Forgets a lease that was given back or is over.
    pub fn forget_lease(&self, attachment: &Id) -> Result<(), Error> {
        self.change_leases("DELETE FROM leases WHERE attachment = ?1", attachment)
    }

    /// Says of a lease that nobody will finish the attachment that it is for, or of those of an attachment that it goes.
    pub fn leave_lease(&self, attachment: &Id) -> Result<(), Error> {
        self.change_leases("UPDATE leases SET gone = 1 WHERE attachment = ?1", attachment)
    }

    /// The same of all attachments of an endpoint.
    pub(super) fn leave_leases_of(&self, endpoint: &Id) -> Result<(), Error> {
        let sql = "UPDATE leases SET gone = 1 WHERE attachment IN \
                   (SELECT id FROM attachments WHERE endpoint = (SELECT number FROM endpoints WHERE id = ?1))";
        self.change_leases(sql, endpoint)
    }

    /// Where nothing was ever lent there is no table, and none is made for nothing.
    fn change_leases(&self, sql: &str, id: &Id) -> Result<(), Error> {
        let there = self.transaction.prepare_cached(THERE).and_then(|mut query| query.exists([]));
        if there.map_err(|source| self.error(source))? { self.execute(sql, [id.as_str()]) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::lease;

    #[test]
    fn one_that_somebody_is_about_to_finish_is_beside_a_stray_and_another_stray_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let [left, other] = [(); 2].map(|()| Id::random().unwrap());
        let change = store.begin().unwrap();
        change.keep_lease(&left, &lease(2000)).unwrap();
        change.leave_lease(&left).unwrap();
        change.keep_lease(&other, &lease(1000)).unwrap();
        change.commit().unwrap();
        let is_beside = |stray: &Lease, before| store.is_lent_beside(&left, stray, before).unwrap();
        assert!(is_beside(&lease(2000), 1000), "it may be finished yet");
        assert!(!is_beside(&lease(2000), 1001), "nobody will finish it");
        let elsewhere = Lease { parent: "eth2".to_owned(), ..lease(2000) };
        assert!(!is_beside(&elsewhere, 1000), "another server's");
    }
}
