//! Rules of CloneSets that admission and decisions share. Pure: what is stored elsewhere is handed in.

pub mod scaling;
