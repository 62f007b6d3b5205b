int f(int x) { return x; }
@interface A { int i; }
- (int)m;
@end
