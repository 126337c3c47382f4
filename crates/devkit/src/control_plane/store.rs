//! Backup and restore of the store's data, as an administrator does them.

use std::{fs, io, path::Path};

use super::{ControlPlane, ControlPlaneError, Program, flags, in_work_folder, launch, ready};

impl ControlPlane {
    /// Stops everything, copies the store's data into `folder`, which must not be there, and starts everything again.
    ///
    /// # Errors
    /// When the data cannot be copied, or one of the programs does not get ready.
    pub async fn save_store(&mut self, folder: &Path) -> Result<(), ControlPlaneError> {
        self.with_store_stopped(|data| copy(data, folder)).await
    }

    /// Stops everything, puts what [`ControlPlane::save_store`] saved in the place of the store's data, and starts
    /// everything again: every object is as it was, and resource versions go on from where they were.
    ///
    /// # Errors
    /// When the data cannot be copied, or one of the programs does not get ready.
    pub async fn restore_store(&mut self, folder: &Path) -> Result<(), ControlPlaneError> {
        self.with_store_stopped(|data| {
            fs::remove_dir_all(data)?;
            copy(folder, data)
        })
        .await
    }

    async fn with_store_stopped(&mut self, act: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), ControlPlaneError> {
        let managed = self.controller_manager.take();
        let had_manager = managed.is_some();
        if let Some(mut process) = managed {
            process.stop().await;
        }
        self.stop_api_server().await;
        self.etcd.stop().await;
        let data = self.work.join(flags::ETCD_DATA);
        act(&data).map_err(in_work_folder(&data))?;
        let etcd = launch(Program::Etcd, &self.binaries.etcd, &self.work, flags::etcd(&self.work, self.options.fsync))?;
        self.etcd = etcd;
        ready::socket(&self.etcd, &self.work.join(flags::ETCD_SOCKET)).await?;
        self.start_api_server().await?;
        if let Some(binary) = self.binaries.controller_manager.clone().filter(|_| had_manager) {
            let arguments = flags::controller_manager(&self.work, &self.options.controllers);
            self.controller_manager = Some(launch(Program::ControllerManager, &binary, &self.work, arguments)?);
        }
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    // The store refuses a folder that other users can enter.
    fs::set_permissions(to, fs::metadata(from)?.permissions())
}
