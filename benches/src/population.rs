use std::io;
use std::process::{Child, Command, Stdio};

use memsample::{Files, Sampler, SamplerOptions};

/// Idle processes, so many that the machine has a certain number of processes with memory.
///
/// They end when it is dropped.
pub struct Population(Vec<Child>);

impl Population {
    /// Starts what is lacking to `processes`.
    ///
    /// # Errors
    ///
    /// A process cannot be started, or there are more already.
    pub fn top_up_to(processes: usize) -> io::Result<Self> {
        let present = with_memory()?;
        let lacking = processes.checked_sub(present).ok_or_else(|| {
            io::Error::other(format!("the machine has {present} processes, more than {processes}"))
        })?;
        let mut population = Self(Vec::with_capacity(lacking));
        for _ in 0..lacking {
            let child = Command::new("sleep").arg("infinity").stdin(Stdio::null()).spawn()?;
            population.0.push(child);
        }
        Ok(population)
    }
}

impl Drop for Population {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}

/// Returns how many processes of the machine have memory.
fn with_memory() -> io::Result<usize> {
    let mut sampler = Sampler::new(SamplerOptions::default())?;
    Ok(sampler.sweep(Files::STATM).counts().processes as usize)
}
