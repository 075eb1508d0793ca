import CKernels

/// `q8`: one byte a weight in blocks of 32 columns, each with an 8-bit scale under one scale for every 512 columns of a
/// row. 8.31 bits a weight.
public struct BlockInt8: QuantizationScheme {
    public init() {}
    public var identifier: UInt8 { 17 }
    public var name: String { "q8" }
    public var form: lamina_scheme { LAMINA_SCHEME_Q8 }
}
