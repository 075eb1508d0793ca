import LayerStore
import TensorCore

/// Where tokenizer and chat template are: a layer store, whose copies have digests, or a plain folder.
struct TextFolder {
    /// What errors name.
    let path: String
    /// `nil` for a plain folder.
    private let store: Store?

    /// Throws what opening the store throws.
    init(store path: String) throws(LaminaError) {
        let store = try Store(path: path, in: RealFileSystem())
        self.store = store
        self.path = store.location(of: "side")
    }

    init(folder: String) {
        store = nil
        path = folder
    }

    /// The bytes of a file, `nil` if there is none. Throws `.io`, `.limit`, and `.damaged` for a store's file that is not
    /// as it was written.
    func read(_ name: String, limit: Int) throws(LaminaError) -> [UInt8]? {
        if let store { return try store.sideFile(name, limit: limit) }
        do throws(LaminaError) {
            return try RealFileSystem().readWhole(path + "/" + name, limit: limit)
        } catch {
            guard error.kind == .missing else { throw error }
            return nil
        }
    }
}
