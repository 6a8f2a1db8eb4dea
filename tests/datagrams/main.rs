//! Sockets that carry packets, over the real ones of the system.

#[path = "../bed/mod.rs"]
mod bed;
mod descriptors;
mod multicast;
mod pressure;
mod seqpacket;
mod stage;
mod udp;
mod unix;
