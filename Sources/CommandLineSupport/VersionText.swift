import CKernels
import LayerStore
import TensorCore

/// What `--version` prints: the tool, the store format, the instruction set chosen here, and library versions.
public func versionText(tool: String, libraries: [(name: String, version: String)] = []) -> String {
    var isa = LAMINA_ISA_PORTABLE
    let isKnown = lamina_isa_choose(&isa)
    let all = [("zstd", zstdVersion)] + digestLibraries + libraries
    return """
        \(tool) \(laminaVersion)
        store format \(Manifest.version)
        instruction set \(String(cString: lamina_isa_name(isa)))\(isKnown ? "" : " (LAMINA_ISA names none of this machine's)")
        \(all.map { "\($0.0) \($0.1)" }.joined(separator: "\n"))
        """
}

/// The kernels for the instruction set this machine is best at, or `LAMINA_ISA`'s. Throws `.usage` if that names one
/// the machine does not have.
public func chosenKernels() throws(LaminaError) -> KernelTable {
    var isa = LAMINA_ISA_PORTABLE
    guard lamina_isa_choose(&isa) else {
        throw LaminaError(
            .usage, "LAMINA_ISA", "no such instruction set on this machine",
            expected: "portable, neon, avx2, avx512 or avx512vbmi2, as available",
            found: Console.environment("LAMINA_ISA") ?? "")
    }
    return lamina_kernels_for(isa)
}
