//! IFEval's 25 verifiable instructions (Zhou et al. 2023, arXiv 2311.07911), checked as lm-evaluation-harness checks
//! them, so that a figure measured here can be compared with a published one. The library maps a text to a verdict; it
//! needs no model, no network and no dataset.

mod instructions;
mod nltk;
mod python;

pub use instructions::{INSTRUCTION_IDS, Instruction, InstructionError};
