import CommandLineSupport
import LayerStore
import StoreWriter
import TensorCore

/// Where a store, or a checkpoint out of one, is to be made.
package struct Destination {
    /// As the user wrote it.
    package let path: String
    /// The folder it is in, absolute and without links.
    package let parent: String
    package let name: String
    private let fileSystem: any FileSystem

    /// Throws `.cannotCreate` if the folder it is to be in is missing.
    package init(_ folder: String, in fileSystem: any FileSystem) throws(LaminaError) {
        let around = parentFolder(of: folder)
        guard case .success(let parentPath) = fileSystem.canonicalPath(around),
            case .success(let facts) = fileSystem.facts(at: parentPath, followLinks: true), facts.isDirectory
        else {
            throw LaminaError(.cannotCreate, around, "no such folder", hint: "create it first")
        }
        path = folder
        parent = parentPath
        name = folder.split(separator: "/").last.map(String.init) ?? ""
        self.fileSystem = fileSystem
    }

    /// Throws `.cannotCreate` if it is `source`, inside it or around it.
    package func checkSeparation(from source: String) throws(LaminaError) {
        let target: String
        if case .success(let existing) = fileSystem.canonicalPath(path) {
            target = existing
        } else {
            target = (parent == "/" ? "" : parent) + "/" + name
        }
        guard case .success(let sourcePath) = fileSystem.canonicalPath(source) else { return }
        let nested = (target + "/").utf8.starts(with: (sourcePath + "/").utf8)
        let around = (sourcePath + "/").utf8.starts(with: (target + "/").utf8)
        guard !nested, !around else {
            throw LaminaError(
                .cannotCreate, path, "it and \(source) must be separate folders",
                hint: "choose a place beside \(source)")
        }
    }

    /// Free bytes where the store will be; `nil` if the system does not say.
    package var freeBytes: UInt64? {
        guard case .success(let free) = fileSystem.freeBytes(at: parent) else { return nil }
        return free
    }

    /// The device the store will be on.
    package var device: UInt64? {
        guard case .success(let facts) = fileSystem.facts(at: parent, followLinks: true) else { return nil }
        return facts.device
    }

    /// Throws `.io` if `bytes` more do not fit on the disk.
    package func checkSpace(for bytes: UInt64, hint: String) throws(LaminaError) {
        guard let free = freeBytes, free < bytes else { return }
        throw LaminaError(
            .io, parent, "not enough disk space", expected: "about \(formattedBytes(bytes)) free",
            found: "\(formattedBytes(free)) free",
            hint: hint)
    }

    /// How an existing store there is replaced.
    package var replacement: StoreReplacement {
        StoreReplacement(of: path, name: name, parent: parent, in: fileSystem)
    }

    // MARK: Stores

    /// Where a store is made that is gone again before the destination's own.
    package var trialPath: String { "\(parent)/.\(name).trial" }

    /// Throws `.cannotCreate` if there is a store at `place`: before long work that would be in vain.
    package func checkAbsence(at place: String) throws(LaminaError) {
        if try fileSystem.exists(place + "/" + Manifest.fileName) { throw storeExists(place) }
    }

    private func storeExists(_ place: String) -> LaminaError {
        LaminaError(
            .cannotCreate, place, "there is a layer store already",
            hint: "choose another name, remove it first, or replace it with --overwrite")
    }

    /// Where a store is made: where it is to be, or, with `overwrite`, beside the one that is replaced. Throws `.io`.
    package func workPlace(overwrite: Bool) throws(LaminaError) -> String {
        // The name of the place beside a store can be too long where the store's own is not.
        guard overwrite else { return path }
        let work = replacement.workPath
        try replacement.finishRemoval()
        let isStore = try fileSystem.exists(path + "/" + Manifest.fileName)
        let isUnderWay = try fileSystem.exists(work)
        return isStore || isUnderWay ? work : path
    }

    /// Puts the store made at `place` where it is to be.
    package func replaceOld(from place: String) throws(LaminaError) {
        guard place != path else { return }
        try replacement.swap()
        try replacement.removeOld()
    }

    /// The manifest of a store that an earlier run of `conversion` made, when all is done that was left to do: removing
    /// traces, replacing the old store; `accepts` if there is more to do with it. `nil` if the store is yet to be made.
    /// Throws `.cannotCreate` if there is a store and nothing is left to do.
    package func finishedEarlier(
        _ conversion: Conversion, at place: String, accepts: Bool, dryRun: Bool
    ) throws(LaminaError) -> Manifest? {
        switch try conversion.find(at: place) {
        case .noStore:
            if place != path { try replacement.check() }
            return nil
        case .completed(let made, let wasUnfinished):
            guard wasUnfinished || accepts || place != path else { break }
            if dryRun { return nil }
            try replaceOld(from: place)
            return made.manifest
        case .otherStore:
            // A run that was killed between swapping the stores and removing the old one.
            guard place != path, case .completed(let made, _) = try conversion.find(at: path) else { break }
            try replacement.removeOld()
            return made.manifest
        }
        throw storeExists(place)
    }
}
