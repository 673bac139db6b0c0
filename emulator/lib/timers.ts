/** Node fires a timer that is set for longer at once. */
export const maxTimerMs = 2 ** 31 - 1
