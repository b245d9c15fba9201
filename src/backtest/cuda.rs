//! Sweeps on an NVIDIA GPU, where there is one.
//!
//! Driver and compiler (NVRTC) are loaded at run time: the same binary runs without either. cudarc panics where a
//! library is missing, so both are asked for first. The kernel is `cuda/kernels.cu`; it gives what the lanes give.

pub mod pack;

use std::sync::Arc;

use cudarc::driver::{
    CudaContext, CudaFunction, CudaModule, CudaSlice, CudaStream, DeviceRepr, DriverError, LaunchConfig, PushKernelArg,
};
use cudarc::nvrtc::{CompileError, CompileOptions, compile_ptx_with_opts};
use pack::{PackedSets, Shared, TOTALS};

use super::device::DeviceChoice;
use super::lanes::signals::Source;
use super::lanes::{Common, Market, Sets, Totals};

/// Source of the kernels.
pub const KERNELS: &str = include_str!("cuda/kernels.cu");

/// Options that the kernels are compiled with, the architecture aside.
pub const KERNEL_OPTIONS: [&str; 2] = ["--std=c++17", "--fmad=false"];

/// Threads of a block, as the kernels' launch bounds say.
const THREADS: u32 = 128;

/// Bar-steps from which on `auto` takes the GPU: below it, starting one takes longer than the CPU needs.
const WORTHWHILE_STEPS: u64 = 2_000_000_000;

/// Sets of a batch: enough threads to fill a large GPU.
const BATCH_SETS: u64 = 1 << 18;

/// Part of the device's free memory that rows may take.
const ROWS_SHARE: usize = 2;

/// Why a GPU cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    /// No driver on this machine.
    #[error("libcuda is not installed")]
    NoDriver,
    /// No compiler for kernels on this machine.
    #[error("libnvrtc is not installed")]
    NoCompiler,
    /// The driver found a fault.
    #[error("{action}: {source}")]
    Driver {
        /// What was being done.
        action: &'static str,
        /// What the driver says.
        source: DriverError,
    },
    /// The kernels do not compile.
    #[error("the kernels do not compile: {0}")]
    Compile(String),
    /// More rows, sets or bars than the kernel's integers hold.
    #[error("{0} is more than a kernel can count")]
    TooLarge(usize),
}

impl CudaError {
    fn at(action: &'static str) -> impl Fn(DriverError) -> Self {
        move |source| Self::Driver { action, source }
    }
}

impl From<CompileError> for CudaError {
    fn from(error: CompileError) -> Self {
        match error {
            CompileError::CompileError { log, .. } => Self::Compile(log.to_string_lossy().into_owned()),
            other => Self::Compile(format!("{other:?}")),
        }
    }
}

// SAFETY: `Shared` is `repr(C)` of plain numbers without padding, the same struct as in the kernel.
unsafe impl DeviceRepr for Shared {}

/// A GPU with the kernels loaded.
#[derive(Debug)]
pub struct Gpu {
    name: String,
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    module: Arc<CudaModule>,
    /// Bars of the evaluation under way.
    market: Option<(CudaSlice<f64>, CudaSlice<u8>)>,
    /// Rows or columns of the evaluation under way, and how many there were.
    rows: Option<(CudaSlice<f64>, usize)>,
    columns: Option<CudaSlice<u8>>,
}

impl Gpu {
    /// The GPU for so many bar-steps; `None` when the CPU does them.
    ///
    /// # Errors
    /// When a GPU is asked for by its number and cannot be used.
    pub fn choose(device: DeviceChoice, steps: u64) -> Result<Option<Self>, CudaError> {
        match device {
            DeviceChoice::Cpu => Ok(None),
            DeviceChoice::Auto if steps < WORTHWHILE_STEPS => Ok(None),
            DeviceChoice::Auto => match Self::open(0) {
                Ok(gpu) => Ok(Some(gpu)),
                Err(error) => {
                    tracing::debug!(%error, "no gpu, the cpu computes");
                    Ok(None)
                }
            },
            DeviceChoice::Cuda(number) => Self::open(number).map(Some),
        }
    }

    /// The GPU of this number.
    ///
    /// # Errors
    /// When driver, compiler or device are missing, or the kernels cannot be loaded.
    pub fn open(number: u32) -> Result<Self, CudaError> {
        // SAFETY: both only try to load a library.
        let (driver, compiler) =
            unsafe { (cudarc::driver::sys::is_culib_present(), cudarc::nvrtc::sys::is_culib_present()) };
        if !driver {
            return Err(CudaError::NoDriver);
        }
        if !compiler {
            return Err(CudaError::NoCompiler);
        }
        let context = CudaContext::new(number as usize).map_err(CudaError::at("open the device"))?;
        let (major, _) = context.compute_capability().map_err(CudaError::at("ask for the device's generation"))?;
        let options = CompileOptions {
            arch: Some(match major {
                ..=7 => "compute_75",
                8 => "compute_80",
                _ => "compute_90",
            }),
            options: KERNEL_OPTIONS.iter().map(ToString::to_string).collect(),
            ..CompileOptions::default()
        };
        let compiled = compile_ptx_with_opts(KERNELS, options)?;
        let module = context.load_module(compiled).map_err(CudaError::at("load the kernels"))?;
        Ok(Self {
            name: format!("cuda:{number}"),
            stream: context.default_stream(),
            context,
            module,
            market: None,
            rows: None,
            columns: None,
        })
    }

    /// Its name: `cuda:N`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sets that are best run together.
    pub fn batch_sets(&self) -> u64 {
        BATCH_SETS
    }

    /// Bytes that rows may take on the device.
    ///
    /// # Errors
    /// When the driver does not say.
    pub fn row_memory(&self) -> Result<usize, CudaError> {
        let (free, _) = self.context.mem_get_info().map_err(CudaError::at("ask for free memory"))?;
        Ok(free / ROWS_SHARE)
    }

    /// Forgets bars and rows: others come.
    pub fn forget(&mut self) {
        self.market = None;
        self.forget_rows();
    }

    /// Forgets rows: they are numbered anew.
    pub fn forget_rows(&mut self) {
        self.rows = None;
        self.columns = None;
    }

    /// Runs sets. Bars and rows stay on the device until they are forgotten; rows that came since are sent.
    ///
    /// # Errors
    /// When the driver fails; the sets are as if they had not been run.
    pub fn run(&mut self, market: &Market<'_>, common: &Common, sets: Sets<'_>) -> Result<Vec<Totals>, CudaError> {
        self.context.bind_to_thread().map_err(CudaError::at("bind the device"))?;
        let bars = market.close.len();
        self.send_market(market)?;
        self.send_source(bars, sets.source)?;
        let packed = pack::pack_sets(bars, common, sets).map_err(CudaError::TooLarge)?;
        let kernel = self.module.load_function(packed.kernel).map_err(CudaError::at("find the kernel"))?;
        self.launch(&kernel, &packed, sets.terms.len())
    }

    fn send_market(&mut self, market: &Market<'_>) -> Result<(), CudaError> {
        if self.market.is_none() {
            let packed = pack::pack_market(market);
            let prices = self.stream.clone_htod(&packed.prices).map_err(CudaError::at("send prices"))?;
            let tradable = self.stream.clone_htod(&packed.tradable).map_err(CudaError::at("send prices"))?;
            self.market = Some((prices, tradable));
        }
        Ok(())
    }

    fn send_source(&mut self, bars: usize, source: Source<'_>) -> Result<(), CudaError> {
        match source {
            Source::Rules(rows, _) => {
                if self.rows.as_ref().is_none_or(|(_, sent)| *sent != rows.len()) {
                    self.rows = None;
                    let packed = pack::pack_rows(rows);
                    let sent = self.stream.clone_htod(&packed).map_err(CudaError::at("send indicators"))?;
                    self.rows = Some((sent, rows.len()));
                }
            }
            Source::Columns(columns, _) => {
                if self.columns.is_none() {
                    let packed = pack::pack_columns(columns, bars);
                    self.columns = Some(self.stream.clone_htod(&packed).map_err(CudaError::at("send signals"))?);
                }
            }
        }
        Ok(())
    }

    fn launch(&self, kernel: &CudaFunction, packed: &PackedSets, sets: usize) -> Result<Vec<Totals>, CudaError> {
        let sending = CudaError::at("send parameter sets");
        let kinds = self.stream.clone_htod(&packed.kinds).map_err(&sending)?;
        // A kernel takes no null pointers for what its sets do not have.
        let factors = self.stream.clone_htod(or_one(&packed.factors, &[0.0])).map_err(&sending)?;
        let terms = self.stream.clone_htod(&packed.terms).map_err(&sending)?;
        let mut out = self.stream.alloc_zeros::<f64>(TOTALS * sets).map_err(CudaError::at("reserve results"))?;
        let no_rows = self.stream.alloc_zeros::<f64>(1).map_err(&sending)?;
        let no_columns = self.stream.alloc_zeros::<u8>(1).map_err(&sending)?;
        let Some((prices, tradable)) = &self.market else { return Ok(Vec::new()) };
        let blocks = u32::try_from(sets).map_err(|_| CudaError::TooLarge(sets))?.div_ceil(THREADS);
        let config = LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 };
        let mut launch = self.stream.launch_builder(kernel);
        launch.arg(&packed.shared).arg(prices).arg(tradable);
        launch.arg(self.rows.as_ref().map_or(&no_rows, |(rows, _)| rows));
        launch.arg(self.columns.as_ref().unwrap_or(&no_columns));
        launch.arg(&kinds).arg(&factors).arg(&terms).arg(&mut out);
        // SAFETY: the arguments are those of the kernel in number, order and type; every array is as long as `Shared`
        // says, and threads beyond the sets return at once.
        unsafe { launch.launch(config) }.map_err(CudaError::at("run the kernel"))?;
        let totals = self.stream.clone_dtoh(&out).map_err(CudaError::at("fetch results"))?;
        Ok(pack::unpack(&totals))
    }
}

/// `values`, or `one` where there are none.
fn or_one<'a>(values: &'a [f64], one: &'a [f64]) -> &'a [f64] {
    if values.is_empty() { one } else { values }
}
