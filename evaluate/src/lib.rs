//! Is it any good: what can be said of an answer without asking another model.
//!
//! The library: IFEval's 25 verifiable instructions (Zhou et al. 2023, arXiv 2311.07911), judged as
//! lm-evaluation-harness judges them, so that a figure measured here can be put beside a published one.
//! It knows no model, no network and no dataset: text in, verdict out. `smoleval`, the binary beside it, asks models.

mod instructions;
mod nltk;
mod python;

pub use instructions::{INSTRUCTION_IDS, Instruction, InstructionError, Verdict, follows};
