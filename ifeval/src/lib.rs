//! The 25 verifiable instructions of IFEval (Zhou et al. 2023, arXiv 2311.07911), checked as lm-evaluation-harness checks
//! them, and the 58 of IFBench (Pyatkin et al. 2025, arXiv 2507.02833), checked as its package `ifbench` checks them, so that
//! a figure measured here can be compared with a published one. The library maps a text to a verdict; it needs no model, no
//! network and no dataset.

mod arguments;
mod ids;
mod ifbench;
mod instructions;
mod nltk;
mod python;

pub use arguments::InstructionError;
pub use ids::{IFBENCH_IDS, INSTRUCTION_IDS};
pub use instructions::Instruction;
