import CKernels

/// `q4`: four bits a weight, an index into a codebook of 16 unevenly spaced values, in blocks of 32 columns with scales
/// as `q8` has them, searched for the least squared error. 4.31 bits a weight.
public struct BlockCodebook4: QuantizationScheme {
    public init() {}
    public var identifier: UInt8 { 18 }
    public var name: String { "q4" }
    public var form: lamina_scheme { LAMINA_SCHEME_Q4 }
}
