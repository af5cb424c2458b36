//! One file of the simulated disk: what programs see, and what a power cut would leave.

use rand::{Rng, rngs::StdRng};
use std::collections::BTreeMap;

/// What a disk writes as a whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

#[derive(Default)]
pub(super) struct Content {
    /// What reads return.
    pub visible: Vec<u8>,
    /// What is on stable storage.
    durable: Vec<u8>,
    /// Sectors that were written since, each with the number of its last write.
    dirty: BTreeMap<usize, u64>,
    writes: u64,
}

/// Sectors as they were when a sync began; only those does it promise.
pub(super) struct Pending {
    sectors: Vec<(usize, u64, Vec<u8>)>,
    length: usize,
}

impl Content {
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.visible.len() < end {
            self.visible.resize(end, 0);
        }
        self.visible[offset..end].copy_from_slice(bytes);
        self.touch(offset, end);
    }

    pub fn set_length(&mut self, length: usize) {
        let old = self.visible.len();
        self.visible.resize(length, 0);
        self.touch(old.min(length), old.max(length));
    }

    fn touch(&mut self, from: usize, to: usize) {
        self.writes += 1;
        for sector in from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES) {
            self.dirty.insert(sector, self.writes);
        }
    }

    pub fn begin_sync(&self) -> Pending {
        let sectors = self.dirty.iter().map(|(sector, write)| (*sector, *write, self.sector(*sector))).collect();
        Pending { sectors, length: self.visible.len() }
    }

    pub fn finish_sync(&mut self, pending: Pending) {
        self.durable.resize(pending.length, 0);
        for (sector, write, bytes) in pending.sectors {
            store(&mut self.durable, sector, &bytes);
            if self.dirty.get(&sector) == Some(&write) {
                self.dirty.remove(&sector);
            }
        }
    }

    /// A failed sync as Linux has it: any part may have reached the disk, and all of it counts as clean afterwards.
    pub fn fail_sync(&mut self, pending: Pending, random: &mut StdRng) {
        let mut lost = Vec::new();
        let Pending { sectors, length } = pending;
        for (sector, write, bytes) in sectors {
            if random.random() {
                lost.push((sector, write, bytes));
            } else {
                self.durable.resize(self.durable.len().max(length), 0);
                store(&mut self.durable, sector, &bytes);
                self.clean(sector, write);
            }
        }
        lost.into_iter().for_each(|(sector, write, _)| self.clean(sector, write));
    }

    fn clean(&mut self, sector: usize, write: u64) {
        if self.dirty.get(&sector) == Some(&write) {
            self.dirty.remove(&sector);
        }
    }

    /// The power goes: each sector not synced is kept or lost, in no order. Returns how many were lost.
    pub fn crash(&mut self, random: &mut StdRng) -> u64 {
        let mut lost = 0;
        if self.visible.len() != self.durable.len() && random.random() {
            self.durable.resize(self.visible.len(), 0);
        }
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            if random.random() {
                let bytes = self.sector(sector);
                store(&mut self.durable, sector, &bytes);
            } else {
                lost += 1;
            }
        }
        self.visible.clone_from(&self.durable);
        lost
    }

    /// Changes both images, as rot does.
    pub fn tamper(&mut self, change: impl Fn(&mut Vec<u8>)) {
        change(&mut self.visible);
        change(&mut self.durable);
    }

    fn sector(&self, sector: usize) -> Vec<u8> {
        let start = (sector * SECTOR_BYTES).min(self.visible.len());
        self.visible[start..(start + SECTOR_BYTES).min(self.visible.len())].to_vec()
    }
}

/// Stores what of a sector lies inside the file.
fn store(image: &mut [u8], sector: usize, bytes: &[u8]) {
    let start = (sector * SECTOR_BYTES).min(image.len());
    let length = bytes.len().min(image.len() - start);
    image[start..start + length].copy_from_slice(&bytes[..length]);
}
