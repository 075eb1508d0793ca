import TestSupport
import Testing

@testable import Inference

@Suite struct ReadOrderTests {
    /// Requests 0 and 1 of every pass, experts 2 and 3 (two requests), 4, experts of the next layer 5 and 6, 7, head 8.
    private func order(
        _ schedule: [PassSchedule], once: Set<Int> = []
    ) -> ReadOrder {
        let occurrences = (0..<9).map { request -> ReadOrder.Occurrence in
            [2, 3, 5, 6].contains(request) ? .routed : once.contains(request) ? .once : .everyPass
        }
        let layers = [
            ExpertRequests.Layer(layer: 3, experts: 0..<2, requests: 2..<4, byteCount: 0),
            ExpertRequests.Layer(layer: 4, experts: 2..<4, requests: 5..<7, byteCount: 0),
        ]
        return ReadOrder(occurrences, bodyCount: 8, layers: layers, schedule: schedule)
    }

    /// Starts up to `count` requests; a + marks those ahead of a router.
    private func start(_ count: Int, of order: inout ReadOrder) -> [String] {
        var started: [String] = []
        while started.count < count, let (place, isAhead) = order.next() {
            started.append("\(place.pass):\(place.request)\(isAhead ? "+" : "")")
            order.start(place)
        }
        return started
    }

    private func route(_ requests: [Int], pass: Int, layer: Int, in order: inout ReadOrder) {
        #expect(order.layerToRoute(pass: pass) == layer && order.routingPass == pass)
        for request in requests { order.add(routed: request) }
        order.endTurn()
    }

    @Test func routedExpertsTakeTheirPlace() {
        var order = order([PassSchedule(includesHead: true, count: 2)])
        #expect(start(2, of: &order) == ["0:0", "0:1"])
        route([2, 3], pass: 0, layer: 0, in: &order)
        #expect(start(3, of: &order) == ["0:2", "0:3", "0:4"])
        route([6], pass: 0, layer: 1, in: &order)
        #expect(start(5, of: &order) == ["0:6", "0:7", "0:8", "1:0", "1:1"])
        route([], pass: 1, layer: 0, in: &order)
        #expect(start(1, of: &order) == ["1:4"])
        route([5, 6], pass: 1, layer: 1, in: &order)
        #expect(start(9, of: &order) == ["1:5", "1:6", "1:7", "1:8"])
    }

    @Test func whatIsBehindARouterIsAheadUntilItHasSpoken() {
        var order = order([PassSchedule(includesHead: false, count: 1), PassSchedule(includesHead: true, count: 1)])
        #expect(start(6, of: &order) == ["0:0", "0:1", "0:4+", "0:7+", "1:0+", "1:1+"])
        route([3], pass: 0, layer: 0, in: &order)
        // Nothing is started twice, and the next router is still to come.
        #expect(start(2, of: &order) == ["0:3", "1:4+"])
        route([5], pass: 0, layer: 1, in: &order)
        #expect(start(2, of: &order) == ["0:5", "1:7+"])
        route([2], pass: 1, layer: 0, in: &order)
        route([5, 6], pass: 1, layer: 1, in: &order)
        #expect(start(9, of: &order) == ["1:2", "1:5", "1:6", "1:8"])
        #expect(order.layerToRoute(pass: 1) == nil && order.layerToRoute(pass: 2) == 0)
    }

    @Test func whatStandsBetweenARouterAndItsExpertsComesFirst() {
        var order = order([PassSchedule(includesHead: true, count: 1)])
        #expect(start(1, of: &order) == ["0:0"])
        route([2], pass: 0, layer: 0, in: &order)
        #expect(start(3, of: &order) == ["0:1", "0:2", "0:4"])
    }

    @Test func whatIsReadOnceIsNotReadAgain() {
        var order = order([PassSchedule(includesHead: true, count: 1_000_000)], once: [0, 1, 4, 7, 8])
        #expect(start(9, of: &order) == ["0:0", "0:1", "0:4+", "0:7+", "0:8+"])
        route([2], pass: 0, layer: 0, in: &order)
        route([6], pass: 0, layer: 1, in: &order)
        route([2], pass: 1, layer: 0, in: &order)
        #expect(start(9, of: &order) == ["0:2", "0:6", "1:2"])
        #expect(order.layerToRoute(pass: 0) == nil && order.layerToRoute(pass: 1) == 1)
    }

    @Test func plansWithoutExpertsHaveNoRouters() {
        var order = ReadOrder(
            [.everyPass, .once, .everyPass], bodyCount: 2, layers: [],
            schedule: [PassSchedule(includesHead: false, count: 2), PassSchedule(includesHead: true, count: 1)])
        #expect(order.layerToRoute(pass: 0) == nil)
        #expect(start(9, of: &order) == ["0:0", "0:1", "1:0", "2:0", "2:2"])
    }
}
