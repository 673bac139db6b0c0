/**
 * The emulator behind the tests of the service is as hard on it as Modal may be. `TEST_STRICT` is another
 * `EMULATOR_STRICT`, such as `sockets`, `1,zombies=off` or `0`.
 */
export const strict = process.env['TEST_STRICT'] ?? '1'
