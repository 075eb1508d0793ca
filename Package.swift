// swift-tools-version: 6.2
import PackageDescription

/// Warnings are errors in every target of this package; strict concurrency comes with the language mode.
let swiftSettings: [SwiftSetting] = [.treatAllWarnings(as: .error)]
let cSettings: [CSetting] = [.treatAllWarnings(as: .error)]
let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")

/// A module map over one Debian library, found through pkg-config.
func systemLibrary(_ name: String, pkgConfig: String, apt: String, brew: String) -> Target {
    .systemLibrary(name: name, pkgConfig: pkgConfig, providers: [.apt([apt]), .brew([brew])])
}

func library(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: swiftSettings)
}

func executable(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(
        name: name, dependencies: dependencies + ["CommandLineSupport", argumentParser],
        swiftSettings: swiftSettings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], exclude: [String] = []) -> Target {
    .testTarget(
        name: name, dependencies: dependencies + ["TensorCore", "TestSupport"], path: "Tests/\(name)", exclude: exclude,
        swiftSettings: swiftSettings)
}

let package = Package(
    name: "lamina",
    products: [
        .executable(name: "lamina-convert", targets: ["Convert"]),
        .executable(name: "lamina-quantize", targets: ["Quantize"]),
        .executable(name: "lamina-verify", targets: ["Verify"]),
        .executable(name: "lamina-run", targets: ["Run"]),
        .library(name: "LayerStore", targets: ["LayerStore"]),
        .library(name: "Inference", targets: ["Inference"]),
        // Not for linking: plugins that HDF5 libraries load.
        .library(name: "LaminaExpTierFilter", type: .dynamic, targets: ["CExpTierFilter"]),
        .library(name: "LaminaEcqTierFilter", type: .dynamic, targets: ["CEcqTierFilter"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
    ],
    targets: [
        systemLibrary("CZstd", pkgConfig: "libzstd", apt: "libzstd-dev", brew: "zstd"),
        systemLibrary("CXXHash", pkgConfig: "libxxhash", apt: "libxxhash-dev", brew: "xxhash"),
        systemLibrary("CCrypto", pkgConfig: "libcrypto", apt: "libssl-dev", brew: "openssl@3"),
        systemLibrary("CPCRE2", pkgConfig: "libpcre2-8", apt: "libpcre2-dev", brew: "pcre2"),
        systemLibrary("CHDF5Library", pkgConfig: "hdf5", apt: "libhdf5-dev", brew: "hdf5"),
        systemLibrary("CEditLine", pkgConfig: "libedit", apt: "libedit-dev", brew: "libedit"),
        systemLibrary("COpenBLAS", pkgConfig: "openblas", apt: "libopenblas-dev", brew: "openblas"),
        .target(
            name: "CSystem", cSettings: cSettings,
            linkerSettings: [.linkedLibrary("uring", .when(platforms: [.linux]))]),
        .target(name: "CKernels", cSettings: cSettings),
        .target(name: "CReferenceText", exclude: ["reference_text.txt"], cSettings: cSettings),
        .target(name: "CLineEditor", dependencies: ["CEditLine", "CSystem"], cSettings: cSettings),
        .target(name: "CHDF5", dependencies: ["CHDF5Library"], cSettings: cSettings),
        .target(
            name: "CTierFilters", dependencies: ["CKernels"], cSettings: cSettings,
            linkerSettings: [.linkedLibrary("m", .when(platforms: [.linux]))]),
        .target(name: "CExpTierFilter", dependencies: ["CTierFilters"], cSettings: cSettings),
        .target(name: "CEcqTierFilter", dependencies: ["CTierFilters"], cSettings: cSettings),

        library("TensorCore", ["CSystem", "CCrypto", "CXXHash"]),
        library("Checkpoint", ["TensorCore"]),
        library("LayerStore", ["TensorCore", "CKernels", "CZstd"]),
        library("StoreWriter", ["LayerStore", "CHDF5", "CKernels", "CSystem"]),
        library("Text", ["TensorCore", "CPCRE2"]),
        library("Inference", ["LayerStore", "CKernels", "CSystem"]),
        library("CommandLineSupport", ["TensorCore", "LayerStore", "CKernels", "CSystem", argumentParser]),
        library(
            "ModelCommandSupport",
            ["CommandLineSupport", "Inference", "Text", "CReferenceText", "CKernels", "CSystem", argumentParser]),

        library("StoreCommands", ["CommandLineSupport", "StoreWriter", "Inference", "CSystem", argumentParser]),

        executable("Convert", ["Checkpoint", "StoreCommands", "StoreWriter", "Inference", "Text", "CSystem"]),
        executable(
            "Quantize",
            ["StoreCommands", "ModelCommandSupport", "StoreWriter", "Inference", "COpenBLAS", "CKernels", "CSystem"]),
        executable("Verify", ["LayerStore", "CKernels", "CSystem"]),
        executable("Run", ["ModelCommandSupport", "Inference", "Text", "CKernels", "CSystem", "CLineEditor"]),

        .target(
            name: "TestSupport", dependencies: ["TensorCore"], path: "Tests/TestSupport", swiftSettings: swiftSettings),
        tests("TensorCoreTests", []),
        tests("CheckpointTests", ["Checkpoint"]),
        tests("CKernelsTests", ["CKernels", "COpenBLAS"], exclude: ["aarch64"]),
        tests("LayerStoreTests", ["LayerStore", "CKernels"]),
        tests("StoreWriterTests", ["StoreWriter", "Checkpoint", "LayerStore", "CKernels", "CTierFilters"]),
        tests("TextTests", ["Text"]),
        tests("InferenceTests", ["Inference", "LayerStore", "CKernels", "CSystem"]),
        tests("CommandLineSupportTests", ["CommandLineSupport"]),
        // The executables are dependencies so that they are built before these tests run them.
        tests("CLITests", ["Convert", "Quantize", "Verify", "Run", "Inference", "LayerStore", "CKernels"]),
    ],
    swiftLanguageModes: [.v6],
    cLanguageStandard: .c11
)
