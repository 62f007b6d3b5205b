struct B { virtual ~B(); int x; }; B::~B() {}
