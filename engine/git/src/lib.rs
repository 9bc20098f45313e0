//! What is needed to read one commit of a git repository elsewhere: the messages of the wire
//! protocol, the packs that come back, and the trees in them.
//!
//! Not here: connections (they are those of a transfer), writing files (whoever calls
//! [`checkout`] has a [`Sink`]), reading repositories on disk, history. What a `.git` directory of
//! the commit is made of, [`GitDirectory`] says. Version 2 of the protocol over
//! HTTP and SHA-1 object names alone. Everything that is read is hostile: lengths, counts and
//! depths are bounded, names are checked, every object is hashed.
//!
//! Spec: gitprotocol-v2, gitprotocol-http, gitformat-pack.

mod checkout;
mod object;
mod oid;
mod pack;
mod packet;
mod protocol;
mod repository;
mod submodule;

pub use checkout::{CheckedOut, CheckoutError, Sink, checkout};
pub use object::Kind;
pub use oid::{Oid, ParseOidError};
pub use pack::{Limits, Pack, PackError};
pub use packet::{PacketError, Packets};
pub use protocol::{
    Advertisement, Fetched, ProtocolError, Refs, advertisement_path, fetch_request, is_ref_name,
    ls_refs_request, read_fetch, request_path,
};
pub use repository::{GitDirectory, Index};
pub use submodule::{Submodule, address_of_submodule, addresses};
