import CKernels
import Foundation
import Testing

/// Serialized: the environment is shared.
@Suite(.serialized) struct DispatchTests {
    private func choose(_ name: String?) -> (accepted: Bool, isa: lamina_isa) {
        let before = getenv("LAMINA_ISA").map { String(cString: $0) }
        defer {
            if let before { setenv("LAMINA_ISA", before, 1) } else { unsetenv("LAMINA_ISA") }
        }
        if let name { setenv("LAMINA_ISA", name, 1) } else { unsetenv("LAMINA_ISA") }
        var isa = LAMINA_ISA_PORTABLE
        let accepted = lamina_isa_choose(&isa)
        return (accepted, isa)
    }

    @Test func theBestOneIsChosen() {
        let best = KernelTable.available.map(\.isa).max()
        for name in [nil, ""] {
            let choice = choose(name)
            #expect(choice.accepted && choice.isa.rawValue == best)
        }
    }

    @Test func theEnvironmentChoosesAnyAvailableOne() {
        for isa: UInt32 in 0..<5 {
            let choice = choose(String(cString: lamina_isa_name(lamina_isa(isa))))
            let available = lamina_isa_is_available(lamina_isa(isa))
            #expect(choice.accepted == available)
            #expect((choice.isa.rawValue == isa) == available)
        }
    }

    @Test func anUnknownNameIsRefused() {
        let choice = choose("avx1024")
        #expect(!choice.accepted)
        #expect(choice.isa.rawValue == KernelTable.available.map(\.isa).max())
    }

    @Test func tablesAreOfTheirInstructionSet() {
        for isa: UInt32 in 0..<5 {
            let found = lamina_kernels_for(lamina_isa(isa)).pointee.isa
            #expect(found == (lamina_isa_is_available(lamina_isa(isa)) ? lamina_isa(isa) : LAMINA_ISA_PORTABLE))
        }
        #expect(!lamina_isa_is_available(lamina_isa(77)))
        #expect(String(cString: lamina_isa_name(lamina_isa(77))) == "unknown")
    }
}
