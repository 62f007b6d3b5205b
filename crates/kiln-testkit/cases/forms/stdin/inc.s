x: .word 1
