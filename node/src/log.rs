//! stub
use bytes::Bytes; use std::io;
pub type GroupId = u32;
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;
pub struct LogEntry { pub index: u64, pub bytes: Bytes }
#[derive(Clone)] pub struct Log; #[derive(Clone)] pub struct GroupLog;
pub struct GroupState { pub first_index: Option<u64>, pub last_index: Option<u64>, pub purged: Option<(u64, Bytes)>, pub vote: Option<Bytes>, pub committed: Option<Bytes> }
impl Log { pub fn group(&self,_:GroupId)->GroupLog{GroupLog} pub fn room_bytes(&self)->u64{0} }
impl GroupLog { pub fn state(&self)->GroupState{loop{}} pub fn append(&self,_:Vec<LogEntry>,_:Done){} pub fn save_vote(&self,_:Bytes,_:Done){} pub fn save_committed(&self,_:Bytes){} pub fn truncate_after(&self,_:Option<u64>,_:Done){} pub fn purge(&self,_:u64,_:Bytes){} pub fn read(&self,_:u64,_:u64,_:usize)->io::Result<Vec<LogEntry>>{loop{}} }
